#!/usr/bin/env bash
# The API over HTTPS, on simulated hosts: people of the roster with their certificates and nobody else, as long as they
# are in it; what an agent shows is replaced without a restart; its numbers are as Prometheus reads them.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/sim.sh"

check "a cluster comes up" sim_of_own --hosts 3 --guests 6 --https
STATE=$SIM_FOLDER/clusters/test EYE=hv3 PEOPLE=$SIM_FOLDER/clusters/test/people
CA=$STATE/hosts/hv1/pki/skein/machines.pem
ADDRESS=127.$(cat "$STATE/net").0.1
SKEIN=${SKEIN_BUILD:-$REPO/build}/bin/skein
asks() { curl -sS --max-time 20 --resolve "hv1:7443:$ADDRESS" --cacert "$CA" "$@"; }
asks_as() { asks --cert "$PEOPLE/$1.pem" --key "$PEOPLE/$1.key" "${@:2}"; }
status_as() { asks_as "$1" -o /dev/null -w '%{http_code}' "https://hv1:7443/v1/hosts"; }
API=https://hv1:7443
over_https() { # PERSON ARGUMENTS...
    env SKEIN_URL="https://$ADDRESS:7443/" SKEIN_TLS_CERT="$PEOPLE/$1.pem" SKEIN_TLS_KEY="$PEOPLE/$1.key" SKEIN_TLS_CA="$CA" \
        "$SKEIN" "${@:2}"
}

check "without a certificate nothing is said" eval '[ "$(asks -o "$WORK/body" -w "%{http_code}" $API/v1/hosts)" = 401 ]'
check "but why" grep -q "a person's certificate is wanted" "$WORK/body"
check "a host's certificate is no person's" eval '[ "$(asks --cert "$STATE/hosts/hv2/pki/skein/host.pem" \
    --key "$STATE/hosts/hv2/pki/skein/host.key" -o /dev/null -w "%{http_code}" $API/v1/hosts)" = 401 ]'
check "TLS 1.2 is refused" eval 'fails asks_as viewer --tls-max 1.2 $API/v1/hosts'
check "plain HTTP is refused" eval 'fails curl -sSf --max-time 5 "http://$ADDRESS:7443/v1/hosts"'
check "a viewer reads" eval 'asks_as viewer $API/v1/hosts | jq -e ".hosts | length == 3" >/dev/null'
check "the planner's answers are handed on" eval 'asks_as viewer $API/v1/plans | jq -e ".plans == []" >/dev/null'
check "an unknown path has an answer" eval '[ "$(asks_as viewer -o /dev/null -w "%{http_code}" $API/v1/nothing)" = 404 ]'

# ---- another certificate, without a restart
hup() { kill -HUP "$(awk '{ print $1; exit }' "$STATE/hosts/hv1/agent")"; }
shown() { echo | openssl s_client -connect "$ADDRESS:7443" 2>/dev/null | openssl x509 -noout -serial; }
before=$(shown)
check "a certificate that does not name the address is refused" fails over_https viewer hosts
"$SKEIN" cert issue --directory "$STATE/pki" --host hv1 --dns hv1 --ip "$ADDRESS" --agent-only --out "$WORK/new" >/dev/null
cp "$WORK"/new/skein/host.{pem,key} "$STATE/hosts/hv1/pki/skein/"
chmod a+r "$STATE"/hosts/hv1/pki/skein/host.{pem,key}
hup
check "a new one is shown without a restart" wait_until 5 eval '[ -n "$before" ] && [ "$(shown)" != "$before" ]'

# ---- the command line
guest=$(world | jq -r '.guests[0].name')
to=$(world | jq -r '.guests[0].host as $h | [.hosts[].name | select(. != $h)][0]')
check "without a certificate the command says what it wants" eval \
    '{ "$SKEIN" hosts --url $API 2>&1 || true; } | has -e "wants --tls-cert"'
check "skein --url reads" prints hv3 over_https viewer hosts
# shellcheck disable=SC2046
check "and asks for a move" over_https operator migrate "$guest" "$to" $(as operator)
check "whose plan waits" wait_until 20 plan_waits user
# shellcheck disable=SC2046
check "and is approved and followed" over_https approver plan approve "$(cat "$WORK/plan")" --yes --wait=60 $(as approver)
check "the guest is there" wait_until 20 guest_on "$guest" "$to"

# ---- numbers
metrics() { asks_as viewer $API/metrics >"$WORK/metrics"; }
check "metrics are told" metrics
# Each sample belongs to the family whose HELP and TYPE stand before it, once; values are numbers.
well_formed() {
    awk '/^# HELP / { if (help[$3]++) bad = bad "\n" $0; next }
        /^# TYPE / { if (type[$3]++ || !help[$3]) bad = bad "\n" $0; family = $3; next }
        { name = $1; sub(/\{.*/, "", name); base = name; sub(/_(bucket|sum|count)$/, "", base) }
        name != family && base != family { bad = bad "\n" $0 }
        $NF !~ /^[-+]?([0-9.]+(e[-+]?[0-9]+)?|Inf)$/ { bad = bad "\n" $0 }
        { samples++ }
        END { print samples " samples" bad; exit bad != "" || samples < 50 }' "$WORK/metrics"
}
check "as Prometheus reads them" well_formed
check "the move is counted" eval 'for h in hv1 hv2 hv3; do
    curl -sS --unix-socket "$STATE/hosts/$h/agent.sock" http://localhost/metrics; done |
    awk "/^skein_migration_duration_seconds_count/ { n += \$2 } END { exit n != 1 }"'
if command -v promtool >/dev/null; then
    check "promtool has no complaint" eval 'promtool check metrics <"$WORK/metrics"'
fi

# ---- out of the roster, out of the API
serial() { "$SKEIN" cert list --directory "$STATE/pki" -o json | jq -r --arg n "$1" --arg u "$2" \
    '[.. | objects | select(.name? == $n and .use? == $u)][0].serial'; }
"$SKEIN" cert revoke --directory "$STATE/pki" "$(serial viewer person)" >/dev/null
cp "$STATE/pki/crl.pem" "$STATE/hosts/hv1/pki/skein/crl.pem"
chmod a+r "$STATE/hosts/hv1/pki/skein/crl.pem"
hup
check "a revoked viewer is refused" wait_until 5 eval '[ "$(status_as viewer)" = 403 ]'
check "others are not" eval '[ "$(status_as operator)" = 200 ]'
check "the agent still answers at its socket" prints hv3 skein hosts
