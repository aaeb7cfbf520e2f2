#!/usr/bin/env bash
# Fifty VMs of one host on simulated hosts: drained five at a time, with a report; cancelled in the middle, nothing moves
# afterwards; rolled back, all are home; drained again, the host is empty.
# shellcheck disable=SC2046 # `as` prints several words on purpose
set -eu
# shellcheck source=tests/e2e/lib/lib.sh
. "$(dirname "$0")/lib/lib.sh"
# shellcheck source=tests/e2e/lib/sim.sh
. "$(dirname "$0")/lib/sim.sh"

# Four hosts; all fifty on hv1, which the others have room for.
jq -n '{schema: "skein.snapshot/1", cluster: "fifty", taken_at: "2026-11-22T01:30:00Z",
    hosts: [range(1; 5) | {name: "hv\(.)", state: "up", failure_domain: "r\(.)", cpu: {cores: 64, model: "EPYC-Milan",
        usable_models: ["EPYC-Milan"]}, memory: {total_mib: 262144}, migration_mbps: 10000, storage: [{name: "ceph", shared: true}],
        networks: ["br"], arch: "x86_64", machines: ["q35"], qemu: "7.2.22", libvirt: "9.0.0"}],
    vms: [range(1; 51) | {name: "vm\(.)", uuid: "00000000-0000-4000-8000-0000000000\(. + 10)", host: "hv1", state: "running",
        persistent: true, vcpus: 1, cpu_used_cores: 0.1, memory_mib: 2048, memory_used_mib: 1024, dirty_mib_s: 2, wset_mib: 64,
        storage: ["ceph"], networks: ["br"], machine: "q35"}]}' >"$SIM_FOLDER/fifty.json"
chmod 644 "$SIM_FOLDER/fifty.json"
echo 'limits = { total = 5; inflow_per_host = 5; outflow_per_host = 5; };' >"$SIM_FOLDER/extra"
chmod 644 "$SIM_FOLDER/extra"
check "a cluster comes up" sim_of_own --snapshot "$SIM_FOLDER/fifty.json" --speed 2 --evaluate 1 --agent-config "$SIM_FOLDER/extra"
EYE=hv4 PEOPLE=$SIM_FOLDER/clusters/test/people
check "fifty are known" wait_until 60 guests_known 50

on_hv1() { world | jq '[.guests[] | select(.host == "hv1")] | length'; }
moving() { world | jq '[.guests[] | select(.moving_to != null)] | length'; }
left() { [ "$(on_hv1)" -le "$1" ]; }

# begin: the drain's plan, approved; its rollback too
begin() {
    wait_until 60 plan_waits drain
    plan=$(cat "$WORK/plan")
    skein plan approve "$plan" --yes "$@" $(as approver)
}

check "a dry run says that fifty can move" eval 'skein drain --dry-run hv1 2>&1 | has "^50 can move"'
check "the drain is ordered" skein drain --concurrency 5 hv1 $(as operator)
begin --rollback >/dev/null
most=0
until left 30; do # never more than five at once
    now=$(moving)
    ((now > most)) && most=$now
    sleep 0.2
done
check "five move at a time, and no more (seen: $most)" eval '[ "$most" -ge 3 ] && [ "$most" -le 5 ]'

# ---- cancelled in the middle
check "it is cancelled" skein plan cancel "$plan" --yes $(as operator)
check "and stopped" skein cordon hv1 $(as operator)
check "the plan ends" wait_until 60 plan_ended "$plan"
check "nothing is on its way" wait_until 10 eval '[ "$(moving)" = 0 ]'
where=$(world | jq -c '[.guests[] | [.name, .host]]')
sleep 6
check "nothing moves afterwards" eval '[ "$(world | jq -c "[.guests[] | [.name, .host]]")" = "$where" ]'
gone=$((50 - $(on_hv1)))
check "the report has all fifty, and $gone that moved" eval 'skein report "$plan" -o json |
    jq -e "(.moves | length) == 50 and .totals.succeeded == $gone" >/dev/null'

# ---- rolled back
skein uncordon hv1 $(as operator) >/dev/null
check "it is rolled back, under the first approval" skein plan rollback "$plan" --yes --wait=300 $(as operator)
check "all are home" wait_until 10 eval '[ "$(on_hv1)" = 50 ]'

# ---- and to its end
check "the drain is ordered again" skein drain --concurrency 5 hv1 $(as operator)
begin >/dev/null
check "the host is empty" wait_until 200 left 0
check "the plan succeeded" wait_until 20 plan_is "$plan" SUCCEEDED
check "the month's statistics know both" eval 'skein report --month "$(skein plan show "$plan" -o json | jq -r ".made_at[:7]")" -o json |
    jq -e ".outcomes.SUCCEEDED >= 50 + 2 * $gone" >/dev/null'
check "no guest was doubled, lost or started again" all_guests_well
