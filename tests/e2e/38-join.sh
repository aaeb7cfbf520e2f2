#!/usr/bin/env bash
# A host joins by a token, on simulated hosts: its keys are made there, its certificates come from an issuer below the
# root, and then it is a member as any other. Whoever has no good token, or is lied to about the issuer, gets nothing.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/sim.sh"

check "a cluster comes up" sim_of_own --hosts 4 --guests 6
STATE=$SIM_FOLDER/clusters/test EYE=hv3 PKI=$SIM_FOLDER/clusters/test/pki
NET=127.$(cat "$STATE/net").0
SKEIN=${SKEIN_BUILD:-$REPO/build}/bin/skein
ROOT=$STATE/hosts/hv3/pki/skein/machines.pem
tool() { as_user "$SKEIN" "$@"; }
state_is() { EYE=$1 skein hosts -o json | jq -e --arg h "$2" --arg s "$3" '.hosts[] | select(.name == $h) | .state == $s'; }

# ---- hv4 leaves, and all that made it a member is gone
sim agent stop hv4
rm -rf "$STATE"/hosts/hv4/{pki,state}
check "hv4 is gone" wait_until 30 eval 'fails state_is hv3 hv4 up'

# ---- hv1 becomes an issuer: the root's key stays where it is
check "an intermediate is made" tool cert issuer --directory "$PKI" --host hv1 --out "$STATE/hosts/hv1/issuer"
check "it stands under the root" openssl verify -CAfile "$ROOT" "$STATE/hosts/hv1/issuer/issuer.pem"
tool cert issue --directory "$PKI" --host hv1 --dns hv1 --ip "$NET.1" --agent-only --out "$STATE/hosts/hv1/pki" >/dev/null
as_user tee -a "$STATE/hosts/hv1/agent.conf" >/dev/null <<EOF
issuer = { listen = "$NET.1:7444"; cert = "$STATE/hosts/hv1/issuer/issuer.pem"; key = "$STATE/hosts/hv1/issuer/issuer.key"; };
EOF
check "the agent checks that configuration" as_user "${SKEIN%/skein}/skein-agent" -n -c "$STATE/hosts/hv1/agent.conf"
sim agent stop hv1
check "and opens its door" sim agent start hv1
check "a planner is there" wait_until 30 planner_known

token() { # HOST ARGUMENTS...
    # shellcheck disable=SC2046
    skein token create --host "$1" --role agent --root "$ROOT" $(as admin) "${@:2}" 2>/dev/null
}
join() { tool join "$1" --from "${FROM:-$NET.1:7444}" --host "$2" --agent-only --out "${OUT:-$SIM_FOLDER/refused}"; }
refused() { # CODE TOKEN HOST: with that code, and nothing is written
    exits 1 join "$2" "$3" >"$WORK/said" 2>&1
    cat "$WORK/said"
    grep -q "^error: $1: " "$WORK/said" && [ ! -e "$SIM_FOLDER/refused" ]
}

# ---- who gets nothing
token hv4 >"$WORK/token"
T=$(cat "$WORK/token")
check "an operator gives no token" eval 'fails skein token create --host hv4 --root "$ROOT" $(as operator)'
check "another host's name" refused DENIED "$T" hv5
check "another role" eval 'exits 1 tool join "$T" --from "$NET.1:7444" --host hv4 --out "$SIM_FOLDER/refused" >"$WORK/said" 2>&1; grep -q "^error: DENIED: .*role" "$WORK/said"'
last=${T: -1}
check "an altered token" refused NOT_FOUND "${T%?}$([ "$last" = 0 ] && echo 1 || echo 0)" hv4
other=$(sed -E 's/^(skein1:[^:]*):[0-9a-f]{8}/\1:00000000/' <<<"$T")
check "another root: somebody between them" refused UNAUTHENTICATED "$other" hv4
check "another cluster" refused UNAUTHENTICATED "${T/skein1:test:/skein1:prod:}" hv4
check "an address that is not in the certificate" eval 'FROM=localhost:7444 exits 1 join "$T" hv4'
token hv4 --lifetime 1 >"$WORK/late"
sleep 1.2
check "a token that expired" refused EXPIRED "$(cat "$WORK/late")" hv4
token hv6 >"$WORK/back"
id=$(skein token list -o json | jq -r '.tokens[] | select(.host == "hv6") | .id')
# shellcheck disable=SC2046
check "one is taken back" skein token revoke $(as admin) "$id"
check "and counts no more" refused DENIED "$(cat "$WORK/back")" hv6
check "the door has nothing else" eval '[ "$(curl -sk "https://$NET.1:7444/v1/hosts" -o /dev/null -w "%{http_code}")" = 404 ]'
check "and bears with what is no request" eval '[ "$(head -c 2000 /dev/urandom | curl -sk --data-binary @- "https://$NET.1:7444/v1/join" -o /dev/null -w "%{http_code}")" = 400 ]'
check "or is too large" eval '[ "$(head -c 200000 /dev/zero | curl -sk --data-binary @- "https://$NET.1:7444/v1/join" -o /dev/null -w "%{http_code}")" = 413 ]'

# ---- twice at once: one gets it
for i in 1 2 3; do
    (OUT=$SIM_FOLDER/twice$i join "$T" hv4 >"$WORK/twice$i" 2>&1 || :) &
done
wait
check "of three at once one is answered" eval '[ "$(cat "$SIM_FOLDER"/twice*/skein/host.pem | grep -c "BEGIN CERT")" = 2 ]'
check "the others are told that it was used" eval '[ "$(cat "$WORK"/twice* | grep -c "^error: CONFLICT: .*used already")" = 2 ]'
check "and so is who comes later" refused CONFLICT "$T" hv4
check "the list says so" eval 'skein token list -o json | jq -e ".tokens[] | select(.status == \"used\" and .host == \"hv4\") | .used.issuer == \"hv1\""'
refusals() { for h in hv1 hv2 hv3; do EYE=$h skein audit list --limit 1000 -o json; done | jq -s "[.[].entries[].record | select(.event == \"$1\")]"; }
check "the refusals are in the audit, with their codes" eval 'refusals certificates.refused | jq -e "map(.code) | unique | contains([\"CONFLICT\", \"DENIED\", \"EXPIRED\", \"INVALID\", \"NOT_FOUND\"])"'
check "one set of certificates was issued" eval '[ "$(refusals certificates.issued | jq length)" = 1 ]'

# ---- a member
mv "$(dirname "$(dirname "$(ls -d "$SIM_FOLDER"/twice*/skein/host.pem)")")" "$STATE/hosts/hv4/pki"
check "its certificate stands under the root, by the issuer's" openssl verify -CAfile "$ROOT" \
    -untrusted "$STATE/hosts/hv4/pki/skein/host.pem" "$STATE/hosts/hv4/pki/skein/host.pem"
check "its agent starts" sim agent start hv4
for h in hv1 hv2 hv3; do
    check "$h knows it" wait_until 30 state_is "$h" hv4 up
done
guest=$(world | jq -r '[.guests[] | select(.host != "hv4")][0].name')
# shellcheck disable=SC2046
check "a move to it is asked for" skein migrate "$guest" hv4 $(as operator)
check "whose plan waits" wait_until 20 plan_waits user
# shellcheck disable=SC2046
check "and is approved" skein plan approve "$(cat "$WORK/plan")" --yes --wait=60 $(as approver)
check "the guest is there" wait_until 20 guest_on "$guest" hv4
check "its audit is cosigned by the others" wait_until 30 eval 'EYE=hv4 skein audit verify'

# ---- and out again: what an issuer made is revoked by its file
serial=$(openssl x509 -noout -serial -in "$STATE/hosts/hv4/pki/skein/host.pem" | cut -d= -f2)
check "the issuer kept a copy" test -e "$STATE/hosts/hv1/state/issued/$serial.pem"
tool cert revoke --directory "$PKI" "$STATE/hosts/hv1/state/issued/$serial.pem" >/dev/null
cp "$PKI/crl.pem" "$STATE/hosts/hv3/pki/skein/crl.pem"
chmod a+r "$STATE/hosts/hv3/pki/skein/crl.pem"
kill -HUP "$(awk '{ print $1; exit }' "$STATE/hosts/hv3/agent")"
for h in hv1 hv3; do
    check "revoked, it is out for $h" wait_until 30 eval "fails state_is $h hv4 up"
done
check "all guests are well" all_guests_well
