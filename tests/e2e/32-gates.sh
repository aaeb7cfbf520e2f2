#!/usr/bin/env bash
# Gate rules, signed by admins: two people for moves that one person asks for. Given to one host they hold on all; no voter,
# planner or relay opens a gate: an agent that lies asks source and destination themselves, with everything that is not
# quite an approval, and each refuses. And one admin of two changes nothing.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/sim.sh"
BUILD=${SKEIN_BUILD:-$REPO/build}

# A hook, which says what stands in a file.
mkdir "$SIM_FOLDER/hooks"
printf '#!/bin/sh\nexit "$(cat %s/verdict)"\n' "$SIM_FOLDER" >"$SIM_FOLDER/hooks/ask"
echo "gates = { hooks = \"$SIM_FOLDER/hooks\"; };" >"$SIM_FOLDER/conf"
echo 2 >"$SIM_FOLDER/verdict"
chmod 755 "$SIM_FOLDER/hooks" "$SIM_FOLDER/hooks/ask"
chmod 644 "$SIM_FOLDER/conf" "$SIM_FOLDER/verdict"

check "a cluster comes up" sim_of_own --hosts 5 --guests 10 --seed 5 --speed 20 --agent-config "$SIM_FOLDER/conf"
PKI=$SIM_FOLDER/clusters/test/pki HOSTS=$SIM_FOLDER/clusters/test/hosts
check "all guests are known" wait_until 60 guests_known 10

tool() { as_user "$BUILD/bin/skein" "$@"; }
# give HOST: as an operator brings the authority's roster to one host
give() {
    as_user cp "$PKI/roster.json" "$HOSTS/$1/pki/skein/roster.json"
    as_user kill -HUP "$(cut -d ' ' -f 1 "$HOSTS/$1/agent")"
}
# same: all hosts hold what the authority made
same() {
    local host
    for host in $(hosts_named); do
        cmp -s "$PKI/roster.json" "$HOSTS/$host/pki/skein/roster.json" || { echo "$host holds another roster" && return 1; }
    done
}
audited() { # HOST EVENT CODE
    as_user "$BUILD/bin/skein" audit list --socket "$HOSTS/$1/agent.sock" -o json |
        jq -e --arg e "$2" --arg c "$3" '[.. | objects | select(.event? == $e and .code? == $c)] | length > 0' >/dev/null
}

# ---- two people, and a ticket
printf '[{"name":"two","classes":["user"],"approvers":2,"ticket":"CHG[0-9]+"},{"name":"asks","classes":["user"],"hook":"ask"}]' >"$SIM_FOLDER/gates.json"
tool cert issue --directory "$PKI" --person berta --roles approver --out "$PEOPLE" >/dev/null
sed 's/approvers/aprovers/' "$SIM_FOLDER/gates.json" >"$SIM_FOLDER/wrong.json"
chmod 644 "$SIM_FOLDER/gates.json" "$SIM_FOLDER/wrong.json"
wrong_rules() { ! tool roster set --directory "$PKI" --gates "$SIM_FOLDER/wrong.json" 2>&1; }
check "wrong rules are refused" prints "did you mean" wrong_rules
check "rules are signed" tool roster set --directory "$PKI" --gates "$SIM_FOLDER/gates.json"
give hv1
check "given to one host, they are everywhere" wait_until 20 same

mapfile -t calm < <(world | jq -r '.guests[].name')
guest=${calm[0]}
from=$(guest_host "$guest")
for to in hv1 hv2 hv3 hv4 hv5; do [ "$to" = "$from" ] || break; done
note "$guest on $from, to $to"
# shellcheck disable=SC2046
check "a move is asked for" skein migrate "$guest" "$to" $(as operator)
check "its plan waits" wait_until 20 plan_waits user
plan=$(cat "$WORK/plan")
# shellcheck disable=SC2046
approve() { skein plan approve "$plan" --yes $(as "$1") "${@:2}"; }
# agreed_on: the voters judge by the new rules
gate_says() { skein plan show "$plan" -o json | jq -e --argjson n "$1" '.gate.needed == $n and (.gate.rules | length) > 0' >/dev/null; }
check "the plan says what it needs" wait_until 20 gate_says 2
check "who asked does not approve" fails approve operator --ticket CHG1
check "one of two" approve approver --ticket CHG1
check "who approved does not approve again" fails approve approver --ticket CHG2
check "it still waits" plan_is "$plan" PENDING_APPROVAL
skein plan show "$plan" -o json | jq -c .body >"$SIM_FOLDER/body.json"
chmod 644 "$SIM_FOLDER/body.json"

# ---- liars: in the name of a host that is down
liar=""
for host in hv5 hv4 hv3; do
    [[ "$host" = "$from" || "$host" = "$to" || "$host" = "$(planner_now)" ]] || { liar=$host && break; }
done
sim agent kill "$liar"
listen=$(sed -n 's/.*listen = "\([0-9.:]*\)".*/\1/p' "$HOSTS/$liar/agent.conf" | sed -n 1p)
person() { echo "$PEOPLE/$1.key:$PEOPLE/$1.pem"; }
lie() { # PEER KIND OPTION...
    local peer=$1 kind=$2 address
    shift 2
    address=$(sed -n 's/.*mesh = .*listen = "\([0-9.:]*\)".*/\1/p' "$HOSTS/$peer/agent.conf" | sed -n 1p)
    as_user "$BUILD/tests/liar" "$HOSTS/$liar/pki/skein" "$liar" "$listen" "$address" "$peer" "$kind" "$SIM_FOLDER/body.json" "ask=$(person operator)" "$@"
}
one=sign=$(person approver) two=sign=$(person berta)
both_refuse() { # CODE WHAT OPTION...
    local code=$1 what=$2
    shift 2
    check "source: $what: $code" prints "refused $code" lie "$from" start "$@"
    check "destination: $what: $code" prints "refused $code" lie "$to" reserve "$@"
}
both_refuse DENIED "under quorum" ticket=CHG1 "$one"
both_refuse DENIED "the same person twice" ticket=CHG1 "$one" again "$one"
both_refuse DENIED "the author approves" ticket=CHG1 "$one" "sign=$(person operator)"
both_refuse DENIED "a viewer approves" ticket=CHG1 "$one" "sign=$(person viewer)"
both_refuse DENIED "a forged signature" ticket=CHG1 "$one" "$two" forge
both_refuse DENIED "another cluster's" ticket=CHG1 cluster=11111111-2222-4333-8444-555555555555 "$one" "$two"
both_refuse DENIED "expired" ticket=CHG1 late=100 life=50 "$one" "$two"
both_refuse DENIED "signed by a clock ahead" ticket=CHG1 late=-60 "$one" "$two"
both_refuse DENIED "without a ticket" "$one" "$two"
both_refuse DENIED "altered" ticket=CHG1 "$one" "$two" alter
both_refuse EXPIRED "an old permit" ticket=CHG1 "$one" "$two" old
check "source: approved by two, but no voter knows the permit" prints "has the word of 0 of 5 voters" lie "$from" start ticket=CHG1 "$one" "$two"
check "the source has audited it" audited "$from" start.refused DENIED
check "so has the destination" audited "$to" reserve.refused DENIED
check "nothing has moved" guest_on "$guest" "$from"
sim agent start "$liar"

# ---- the second
check "two of two" approve berta --ticket CHG1
check "its hook is asked, and says wait" wait_until 20 eval 'audited "$(planner_now)" hook.answered UNAVAILABLE'
check "it waits" plan_is "$plan" ONGOING
check "nothing has moved yet" guest_on "$guest" "$from"
echo 0 >"$SIM_FOLDER/verdict"
check "the hook says yes: the move succeeds" wait_until 60 plan_is "$plan" SUCCEEDED

# ---- two admins, and one of them alone
tool cert issue --directory "$PKI" --person boss --roles admin --out "$PKI/people" >/dev/null
check "from now on two admins have to sign" prints "roster sign" tool roster set --directory "$PKI" --threshold 2 --admin admin
check "the second admin signs" tool roster sign --directory "$PKI" --admin boss
give hv2
check "it is everywhere" wait_until 20 same
printf '[]' >"$SIM_FOLDER/none.json"
chmod 644 "$SIM_FOLDER/none.json"
check "one admin takes the rules away: it waits" prints "roster sign" tool roster set --directory "$PKI" --gates "$SIM_FOLDER/none.json" --admin admin
as_user cp "$PKI/roster.next.json" "$HOSTS/hv1/pki/skein/roster.json"
as_user kill -HUP "$(cut -d ' ' -f 1 "$HOSTS/hv1/agent")"
sleep 3
check "no host follows one of two" exits 1 cmp -s "$PKI/roster.next.json" "$HOSTS/hv3/pki/skein/roster.json"
