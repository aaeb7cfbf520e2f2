# shellcheck shell=bash
# scenario.sh - what the scenarios share (tests/e2e/scenarios): a small simulated cluster, or a lab of real hosts, and
# the few words in which a scenario tells what came of it. What `say` prints is compared with the file `expected`;
# what goes to stderr is for people.
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
WORK=$(mktemp -d)
DONE=()
say() { printf '%s\n' "$*"; }

_finish() {
    local status=$? i
    trap - EXIT
    for ((i = ${#DONE[@]} - 1; i >= 0; i--)); do
        eval "${DONE[i]}" >&2 || :
    done
    rm -rf "$WORK"
    exit "$status"
}
trap _finish EXIT
trap 'exit 130' INT TERM

# wait_for SECONDS CMD...: false, and a line on stderr, when it does not come true. Three times as long is waited, for the
# sake of shared machines.
wait_for() {
    local end=$((SECONDS + 3 * $1))
    shift
    until "$@" >"$WORK/waited" 2>&1; do
        if ((SECONDS >= end)); then
            echo "not in time: $*: $(tail -n 3 "$WORK/waited")" >&2
            return 1
        fi
        sleep 0.2
    done
}

# ---- the simulated world: hv1 to hv4, web1 (512 MiB) on hv1 and db1 (2 GiB) on hv2, links of 1 Gbit/s; hv4 has no vote

sim() { "$REPO/deploy/sim" "$@"; }
ctl() { sim ctl "$@" >/dev/null; }

sim_cluster() {
    export SKEIN_SIM=scenario-$$ SKEIN_SIM_ROOT=$WORK/sim
    jq -n '{schema: "skein.snapshot/1", cluster: "scenario", taken_at: "2026-11-22T01:30:00Z", seed: 1,
        hosts: [range(1; 5) | {name: "hv\(.)", state: "up", failure_domain: "dc/r\(.)",
            cpu: {cores: 16, used_cores: 1, overcommit: 4, model: "EPYC-Milan"}, arch: "x86_64",
            memory: {total_mib: 65536, reserved_mib: 1024, used_mib: 2000}, migration_mbps: 1000, networks: ["br0"],
            storage: [{name: "ceph", shared: true, free_mib: 900000, total_mib: 1000000}], machines: ["pc-q35-7.2"]}],
        vms: [{name: "web1", uuid: "11111111-1111-4111-8111-111111111111", host: "hv1", memory_mib: 512},
            {name: "db1", uuid: "22222222-2222-4222-8222-222222222222", host: "hv2", memory_mib: 2048}
            | . + {state: "running", persistent: true, vcpus: 1, cpu_used_cores: 0.2, memory_used_mib: 300,
                dirty_mib_s: 2, wset_mib: 50, storage: ["ceph"], networks: ["br0"], machine: "pc-q35-7.2"}]}' >"$WORK/world.json"
    DONE+=("sim down")
    sim up --snapshot "$WORK/world.json" --policies thermal_relief --evaluate 5 >&2
    PEOPLE=$SKEIN_SIM_ROOT/$SKEIN_SIM/people
    wait_for 30 fleet_ready
}

on() { # HOST ARGUMENTS...: skein with that host's agent
    local host=$1
    shift
    if [ -n "${SKEIN_SIM-}" ]; then sim skein "$host" "$@"; else lab exec "$host" skein "$@"; fi
}

fleet_ready() {
    on "${ASK:-hv3}" status -o json | jq -e '.planner.host != null' >/dev/null &&
        [ "$(on "${ASK:-hv3}" vms -o json | jq '[.vms[] | select(.state == "running")] | length')" = "${GUESTS:-2}" ]
}

guests() { sim ctl status -o json | jq -c '.guests[]'; }

# runs_on GUEST HOST: there, and only there
runs_on() { guests | jq -se --arg g "$1" --arg h "$2" 'any(.[]; .name == $g and .running == 1 and .host == $h)' >/dev/null; }
is_moving() { guests | jq -se --arg g "$1" 'any(.[]; .name == $g and .moving_to != null)' >/dev/null; }

# say_guest GUEST: where it runs, how often it was started, where else there is a definition of it
say_guest() {
    guests | jq -r --arg g "$1" 'select(.name == $g)
        | "\(.name): runs \(.running) time(s), on \(.host // "no host"), started \(.starts) time(s), other definitions: \(.defined | length)"'
}

# ---- moves

as() { printf -- '--key %s/%s.key --cert %s/%s.pem' "$PEOPLE" "$1" "$PEOPLE" "$1"; }

plan_waiting() {
    plan=$(on "${ASK:-hv3}" plan list -o json | jq -r '[.plans[] | select(.state == "PENDING_APPROVAL") | .id][0] // empty')
    [ -n "$plan" ] && echo "$plan" >"$WORK/plan"
}

# move GUEST HOST: asked for and approved; sets plan
move() {
    # shellcheck disable=SC2046
    {
        on "${ASK:-hv3}" migrate "$1" "$2" $(as operator) >&2
        wait_for 20 plan_waiting
        plan=$(cat "$WORK/plan")
        on "${ASK:-hv3}" plan approve "$plan" --yes $(as approver) >&2
    }
}

plan_json() { on "${ASK:-hv3}" plan show "$plan" -o json; }
plan_over() { [[ $(plan_json | jq -r .state) =~ ^(SUCCEEDED|PARTIAL|FAILED|CANCELLED)$ ]]; }

# say_plan [SECONDS]: how the move ended, and after how many attempts that returned
say_plan() {
    wait_for "${1:-90}" plan_over || :
    plan_json >"$WORK/plan.json"
    jq -r '"the move: \(.state), its action \(.results[-1].state)"' "$WORK/plan.json"
    jq -r '.results[-1] | "\(.code // "") \(.message // "") (\(.evidence // ""))"' "$WORK/plan.json" >&2
}

# moved_to GUEST: hosts that its view of the fleet has it on
say_view() {
    on "${ASK:-hv3}" vms -o json | jq -r --arg g "$1" '.vms[] | select(.name == $g) | "the fleet sees \(.name) on \(.host)"'
}
