#!/usr/bin/env bash
# Nobody at the keyboard, on simulated hosts: an evening's consolidation and a hot host's relief, each under its standing order,
# with no other signature.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/sim.sh"

cat >"$SIM_FOLDER/limits" <<'END'
limits = { total = 6; inflow_per_host = 2; outflow_per_host = 4; };
END
chmod 644 "$SIM_FOLDER/limits"
check "a cluster comes up" sim_of_own --hosts 6 --guests 36 --seed 5 --speed 30 --at 2026-11-22T21:50:00Z --evaluate 1 \
    --policies thermal_relief,night_consolidation --agent-config "$SIM_FOLDER/limits"
check "all guests are known" wait_until 60 guests_known 36

order() { # POLICY ARGUMENTS...
    local policy=$1
    shift
    # shellcheck disable=SC2046
    skein order add --policy-file "$REPO/policies/$policy.lua" "$@" $(as admin)
}
check "an order for the night" order night_consolidation --moves-per-hour 200 --classes optimise
check "an order for heat" order thermal_relief --moves-per-hour 20 --classes thermal
hosts_in_use() { world | jq '[.guests[] | select(.running == 1) | .host] | unique | length'; }
before=$(hosts_in_use)
note "$before hosts in use in the evening"
check "the night frees a host" wait_until 120 eval '[ "$(hosts_in_use)" -lt '"$before"' ]'

hot=$(world | jq -r '[.guests[] | select(.running == 1) | .host] | group_by(.) | max_by(length) | .[0]')
guests_of() { world | jq --arg h "$1" '[.guests[] | select(.host == $h)] | length'; }
sim ctl fan "$hot" 0.4
relieved() { skein plan list -o json | jq -e '[.plans[] | select(.class == "thermal" and (.state == "SUCCEEDED" or .state == "PARTIAL"))] | length > 0'; }
check "$hot, whose fan fails, is relieved" wait_until 90 relieved
check "nothing is doubled or lost" all_guests_well
# in the audits of those that planned
for host in $(hosts_named); do EYE=$host skein audit list --limit 1000 -o json | jq -r '.entries[].record.event'; done >"$WORK/events"
check "the orders approved" grep -qxF plan.approved_by_order "$WORK/events"
check "nobody approved anything" lacks '^plan\.approved$' "$WORK/events"
