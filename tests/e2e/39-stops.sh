#!/usr/bin/env bash
# A drain whose order says what becomes of VMs that cannot move, on simulated hosts: the others move, then those are shut
# down, or saved; without such an order they stay and run.
# shellcheck disable=SC2046 # `as` prints several words on purpose
set -eu
# shellcheck source=tests/e2e/lib/lib.sh
. "$(dirname "$0")/lib/lib.sh"
# shellcheck source=tests/e2e/lib/sim.sh
. "$(dirname "$0")/lib/sim.sh"

# gpu1 on hv1 and gpu2 on hv2 hold a device; web1 on hv1 can go anywhere.
jq -n '{schema: "skein.snapshot/1", cluster: "stops", taken_at: "2026-11-22T01:30:00Z",
    hosts: [range(1; 4) | {name: "hv\(.)", state: "up", failure_domain: "r\(.)", cpu: {cores: 16, model: "EPYC-Milan",
        usable_models: ["EPYC-Milan"]}, memory: {total_mib: 65536}, migration_mbps: 10000, storage: [{name: "ceph", shared: true}],
        networks: ["br"], arch: "x86_64", machines: ["q35"], qemu: "7.2.22", libvirt: "9.0.0"}],
    vms: [["web1", "hv1", []], ["gpu1", "hv1", [{type: "pci", migratable: false}]], ["gpu2", "hv2", [{type: "pci", migratable: false}]]]
        | to_entries | map({name: .value[0], uuid: "00000000-0000-4000-8000-00000000001\(.key)", host: .value[1], devices: .value[2],
        state: "running", persistent: true, vcpus: 1, cpu_used_cores: 0.1, memory_mib: 2048, memory_used_mib: 1024, dirty_mib_s: 2,
        wset_mib: 64, storage: ["ceph"], networks: ["br"], machine: "q35"})}' >"$SIM_FOLDER/world.json"
chmod 644 "$SIM_FOLDER/world.json"
check "a cluster comes up" sim_of_own --snapshot "$SIM_FOLDER/world.json" --policies maintenance_drain --speed 5 --evaluate 1
EYE=hv3 PEOPLE=$SIM_FOLDER/clusters/test/people
check "three are known" wait_until 60 guests_known 3

vm_state() { skein vms -o json | jq -r --arg v "$1" '.vms[] | select(.name == $v) | "\(.state) \(.host)"'; }
vm_is() { [ "$(vm_state "$1")" = "$2 $3" ]; }
approve() { # the plan of a drain that waits
    wait_until 60 plan_waits drain || return 1
    skein plan approve "$(cat "$WORK/plan")" --yes $(as approver)
}
ordered() { wait_until 20 skein drain "$@" $(as operator); } # until all voters are known to know of it
check "an unknown fallback is refused" exits 2 skein drain --fallback kill hv1 $(as operator)
check "a drain that shuts down what cannot move" ordered --fallback shutdown hv1
check "is planned and approved" approve
plan=$(cat "$WORK/plan")
check "the plan moves first, and shuts down then" eval 'skein plan show "$plan" -o json |
    jq -e "[.body.steps[].actions[] | [.type, .vm]] == [[\"migrate\", \"web1\"], [\"shutdown\", \"gpu1\"]]"'
check "it succeeds" wait_until 60 plan_is "$plan" SUCCEEDED
check "what could move runs elsewhere" eval '[ "$(guest_host web1)" != hv1 ]'
check "what could not is shut off, where it was" wait_until 20 vm_is gpu1 stopped hv1
check "the report says how a person would have done it" eval 'skein report "$plan" -o json |
    jq -e "any(.moves[]; .type == \"shutdown\" and (.virsh | endswith(\" shutdown '"'gpu1'"'\")) and .state == \"SUCCEEDED\")"'
audited() { sim skein "$1" audit list --limit 200 -o json | jq -e --arg e "$2" 'any(.entries[]; .record.event == $e)'; }
check "its host has it in the audit" audited hv1 shutdown.succeeded

check "a drain without such an order" ordered --fallback skip hv2
sleep 4
check "stops nothing" vm_is gpu2 running hv2
check "one that saves what cannot move" ordered --fallback suspend hv2
check "is planned and approved, too" approve
plan=$(cat "$WORK/plan")
check "it succeeds, too" wait_until 60 plan_is "$plan" SUCCEEDED
check "the VM is saved" wait_until 20 vm_is gpu2 stopped hv2
