#!/usr/bin/env bash
# Three of five voters are gone for good, on simulated hosts: nothing is decided any more, until `skein recover` has given
# the log that is left to other voters. What was agreed on is still there, and who did it stands in the audit.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/sim.sh"

check "a cluster comes up" sim_of_own --hosts 6 --guests 12
STATE=$SIM_FOLDER/clusters/test EYE=hv6 PEOPLE=$SIM_FOLDER/clusters/test/people
SKEIN=${SKEIN_BUILD:-$REPO/build}/bin/skein
recover() { as_user "$SKEIN" recover -c "$STATE/hosts/$1/agent.conf" "${@:2}"; }
state_is() { skein hosts -o json | jq -e --arg h "$1" --arg s "$2" '.hosts[] | select(.name == $h) | .state == $s'; }
cordoned() { state_is "$1" cordoned; }
uncordoned() { state_is "$1" up; }

# shellcheck disable=SC2046
check "something is ordered" skein cordon hv6 $(as operator)
check "and known" wait_until 20 cordoned hv6

# ---- hv1 to hv3 are lost
sim agent kill hv1 hv2 hv3
rm -rf "$STATE"/hosts/hv{1,2,3}/state
no_planner() { EYE=$1 skein status -o json | jq -e '.planner.host == null' >/dev/null; }
check "the voters that are left elect nobody" wait_until 20 no_planner hv4
check "with its agent running a host is not recovered" eval 'exits 1 recover hv4 >"$WORK/said" 2>&1; grep -q "stop this host.s agent first" "$WORK/said"'
sim agent stop hv4 hv5 hv6

check "first it says what there is, and does nothing" eval 'recover hv4 >"$WORK/hv4" && recover hv5 >"$WORK/hv5"; grep -q "Nothing was done" "$WORK/hv4"'
check "whose log it is" grep -q "^voters *hv1, hv2, hv3, hv4, hv5$" "$WORK/hv4"
newest=$(for h in hv4 hv5; do echo "$(awk '$1 == "term" { t = $2 } $1 == "entry" { print t, $2 }' "$WORK/$h") $h"; done | sort -k1,1n -k2,2n | tail -n 1 | cut -d ' ' -f 3)
note "$newest has the newest log"
check "the same voters are refused" eval 'exits 1 recover "$newest" --yes --reason test >"$WORK/said" 2>&1; grep -q "already" "$WORK/said"'
sed -i 's/voters = \[[^]]*\]/voters = [ "hv4", "hv5", "hv6" ]/' "$STATE"/hosts/hv*/agent.conf
check "an agent does not start on another voters' log" eval \
    'exits 1 as_user timeout 20 "${SKEIN%/skein}/skein-agent" -c "$STATE/hosts/hv4/agent.conf" >"$WORK/said" 2>&1; grep -q "belongs to other voters" "$WORK/said"'
check "a reason is wanted" fails recover "$newest" --yes
check "the newest log is given to the new voters" recover "$newest" --out "$SIM_FOLDER/log.db" --yes --reason "fire in room 1"
for h in hv4 hv5 hv6; do
    [ "$h" = "$newest" ] || check "also on $h" recover "$h" --from "$SIM_FOLDER/log.db" --yes --reason "fire in room 1"
done

# ---- and on
sim agent start hv4 hv5 hv6
check "a planner is elected" wait_until 30 planner_known
check "one of the new voters" eval '[[ $(planner_now) =~ ^hv[456]$ ]]'
check "what was agreed on is still there" wait_until 20 cordoned hv6
# shellcheck disable=SC2046
check "and what is agreed on now" wait_until 20 skein uncordon hv6 $(as operator)
check "holds" wait_until 20 uncordoned hv6
for h in hv4 hv5 hv6; do
    check "the audit of $h says so" eval 'EYE=$h skein audit list --limit 1000 -o json | grep "voters.recovered" | has "fire in room 1"'
    check "and is intact" eval 'EYE=$h skein audit verify'
done
