# shellcheck shell=bash
# fault.sh - faults at a chosen moment of a move, on real hypervisors. Source lib.sh, lab.sh and mesh.sh first.

# hooked_agents: makes $WORK/hooked, a build folder whose agents stop where their journal is told to; see journal-stop.c.
hooked_agents() {
    local real
    real=$(readlink -f "${SKEIN_BUILD:-$REPO/build}")
    mkdir -p "$WORK/hooked/bin"
    ln -sf "$real/bin/skein" "$WORK/hooked/bin/skein"
    printf '#!/bin/sh\nexec env LD_PRELOAD=%s %s "$@"\n' "$real/tests/journal-stop.so" "$real/bin/skein-agent" \
        >"$WORK/hooked/bin/skein-agent"
    chmod +x "$WORK/hooked/bin/skein-agent"
}

# stop_at HOST ROLE STATE: the agent stops as soon as it has written that. stop_nowhere HOST
stop_at() {
    # shellcheck disable=SC2016
    lab exec "$1" sh -c 'rm -f /run/skein/stopped; echo "$1 $2" >/run/skein/stop-at' - "$2" "$3"
}

stop_nowhere() {
    lab exec "$1" rm -f /run/skein/stop-at /run/skein/stopped 2>/dev/null || :
}

stopped() { lab exec "$1" test -e /run/skein/stopped; }

# go_on HOST: a stopped agent continues, if it lives.
go_on() {
    # shellcheck disable=SC2016
    lab exec "$1" sh -c 'kill -CONT "$(cat /run/agent.pid)"' 2>/dev/null || :
    stop_nowhere "$1"
}

# fault_begin FAULT SOURCE DESTINATION, fault_end: what the names say. Sets hurt to the host that is hit.
fault_begin() {
    local what=${1#*-}
    case $1 in
    source-*) hurt=$2 ;;
    destination-*) hurt=$3 ;;
    none) return 0 ;;
    esac
    case $what in
    agent | libvirtd | power) lab kill "$hurt" "$what" ;;
    power-silent | power-dead) lab kill "$hurt" power --silent ;;
    link) lab link "$hurt" down ;;
    link-mesh | link-migration) lab link "$hurt" down --net "${what#link-}" ;;
    hang) lab exec "$hurt" sh -c 'kill -STOP "$(cat /run/libvirtd.pid)"' ;;
    esac
}

fault_end() {
    local what=${1#*-}
    case $what in
    none) ;;
    agent | libvirtd) lab start "$hurt" "$what" ;;
    power | power-silent | power-dead) lab start "$hurt" power ;;
    link | link-mesh | link-migration) lab link "$hurt" up ;;
    hang) lab exec "$hurt" sh -c 'kill -CONT "$(cat /run/libvirtd.pid)"' ;;
    esac
}

# rows_of GUEST: "HOST STATE" of every definition and running copy, from all hosts' libvirt.
rows_of() {
    lab guest list | awk -v g="$1" '$1 == g { host = $2; sub(/^[^ ]+ +[^ ]+ +/, ""); sub(/ +$/, ""); print host, $0 }'
}

# ---- facts for the checker of invariants (tests/README.md)

# domain_facts GUEST UUID HOST...: where libvirt of each of these hosts has it
domain_facts() {
    local name=$1 uuid=$2 host all defined state now
    shift 2
    now=$(date +%s%3N)
    for host in "$@"; do
        all=$(virsh_on "$host" list --all) || return 1
        defined=$(virsh_on "$host" list --all --persistent --name)
        state=$(awk -v n="$name" '$2 == n { sub(/^ *[^ ]+ +[^ ]+ +/, ""); print }' <<<"$all")
        case $state in
        "") state=absent ;;
        "shut off"*) state=stopped ;;
        *) state=${state%% *} ;;
        esac
        jq -cn --arg h "$host" --arg vm "$uuid" --arg s "$state" --argjson at "$now" \
            --argjson p "$(grep -qx "$name" <<<"$defined" && echo true || echo false)" \
            '{fact: "domain", at: $at, host: $h, vm: $vm, what: $s, persistent: $p}'
    done
}

# act_facts PLAN UUID FROM TO HOST...: what the audits of these hosts say of that plan, in order of time. The domains are
# to be told before the last end: a line "HERE" marks the place.
act_facts() {
    local plan=$1 uuid=$2 from=$3 to=$4 host
    shift 4
    for host in "$@"; do
        skein_on "$host" audit list --limit 500 -o json | jq -c --arg p "$plan" '.entries[].record | select(.plan == $p)'
    done | jq -cs --arg plan "$plan" --arg vm "$uuid" --arg from "$from" --arg to "$to" '
        def of: {plan: $plan, action: .action};
        def outcome: {"move.succeeded": "succeeded", "move.undone": "failed", "move.failed": "failed",
            "move.skipped": "skipped", "move.cancelled": "cancelled", "move.returned": "returned",
            "needs.operator": "needs-operator"}[.event];
        sort_by(.at) | map(
            if .event == "permit.issued" then of + {fact: "permit", permit, term, attempt}
            elif .event == "move.started" and (has("reporter") | not) then of + {fact: "started", host: $from, vm: $vm, to: $to, permit}
            elif outcome != null and (has("reporter") | not) then of + {fact: "ended", host: .host, what: outcome}
            elif outcome != null then of + {fact: "reported", what: outcome}
            else empty end)
        | (map(.fact == "ended") | rindex(true)) as $last
        | {fact: "plan", plan: $plan, what: "user", person: "operator"},
          {fact: "action", plan: $plan, action: "s1-1", vm: $vm, from: $from, to: $to, step: 0},
          (to_entries[] | if .key == $last then "HERE" else empty end,
              if .value.fact == "ended" then {fact: "job-ended", vm: $vm} else empty end, .value),
          (if $last == null then "HERE" else empty end)'
}
