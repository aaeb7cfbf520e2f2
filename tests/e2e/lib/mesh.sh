# shellcheck shell=bash
# mesh.sh - what tests with agents on real hypervisors share. Source lib.sh and lab.sh first.

# agents_of_own N [TEXT]: a lab of N hosts with agents, whose configuration gets TEXT; a planner is elected.
agents_of_own() {
    local n=$1 text=${2-}
    printf '%s\n' "policies = { active = [ \"thermal_relief\" ]; evaluate_interval_s = 1; };" \
        "capacity = { cpu_overcommit = 8.0; };" "$text" >"$WORK/agent.extra"
    lab_of_own "$n" --agents --agent-config "$WORK/agent.extra"
    PEOPLE=${SKEIN_LAB_ROOT:-/var/lib/skein-lab}/$SKEIN_LAB/people
    at_exit keep_logs
    wait_until 20 has_planner hv1
}

# When something failed, the agents' last words are worth more than the lab's silence.
keep_logs() {
    local host
    ((_failed > 0)) || return 0
    for host in $(lab status -o json | jq -r '.hosts[].name'); do
        note "last lines of the agent on $host:"
        lab logs "$host" agent 2>&1 | tail -n 80 | sed 's/^/#   /'
    done
}

# skein_on HOST ARGUMENTS...
skein_on() {
    local host=$1
    shift
    lab exec "$host" skein "$@"
}

as() { # PERSON: the options that sign
    printf -- '--key %s/%s.key --cert %s/%s.pem' "$PEOPLE" "$1" "$PEOPLE" "$1"
}

# ask_for GUEST HOST ASKED [OPTIONS...]: an operator asks the agent of ASKED for that move, until the planner has heard of
# what changed a moment ago.
ask_for() {
    local guest=$1 to=$2 asked=$3
    shift 3
    # shellcheck disable=SC2046
    wait_until 10 skein_on "$asked" migrate "$guest" "$to" "$@" $(as operator)
}

planner_seen_by() { skein_on "$1" status -o json | jq -r '.planner.host // empty'; }

has_planner() { [ -n "$(planner_seen_by "$1")" ]; }

no_planner() { skein_on "$1" status -o json | jq -e '.planner.host == null' >/dev/null; }

# planner_other_than HOST SEEN_BY
planner_other_than() {
    local now
    now=$(planner_seen_by "$2")
    [ -n "$now" ] && [ "$now" != "$1" ]
}

# guests_seen N HOST: that agent knows N running VMs.
guests_seen() { [ "$(skein_on "$2" vms -o json | jq '[.vms[] | select(.state == "running")] | length')" = "$1" ]; }

# plans_in STATE HOST: ids
plans_in() {
    skein_on "$2" plan list -o json | jq -r --arg s "$1" '.plans[] | select(.state == $s) | .id'
}

# plan_waits HOST: sets plan to the first that waits for approval
plan_waits() {
    plan=$(plans_in PENDING_APPROVAL "$1" | sed -n 1p)
    [ -n "$plan" ] && echo "$plan" >"$WORK/plan"
}

# no_plan_waits HOST: that agent says so
no_plan_waits() {
    local waiting
    waiting=$(plans_in PENDING_APPROVAL "$1") || return 1
    echo "$waiting"
    [ -z "$waiting" ]
}

plan_state() { skein_on "$2" plan show "$1" -o json | jq -r .state; }

plan_is() { [ "$(plan_state "$1" "$3")" = "$2" ]; }

plan_ended() { [[ $(plan_state "$1" "$2") =~ ^(SUCCEEDED|PARTIAL|FAILED|CANCELLED|ROLLED_BACK|SUPERSEDED|EXPIRED|REJECTED)$ ]]; }

# audited HOST EVENT [TEXT]: that host's chain holds such a record
audited() {
    skein_on "$1" audit list --limit 500 -o json |
        jq -e --arg e "$2" --arg t "${3-}" \
            'any(.entries[]; .record.event == $e and (.text | contains($t)))' >/dev/null
}

# sanitizer_is_silent: no agent's log holds a report. Checked at the end, when the agents have been told to stop: a leak
# shows only then.
sanitizer_is_silent() {
    local host
    lab agent stop
    for host in $(lab status -o json | jq -r '.hosts[].name'); do
        lab logs "$host" agent >"$WORK/agent.log"
        ! grep -E 'AddressSanitizer|LeakSanitizer|runtime error' -A 20 "$WORK/agent.log" || return 1
    done
}
