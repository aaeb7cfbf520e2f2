# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # names shared by the parts
# agent.sh - the agents of a simulated cluster: configuration, certificates, processes.

# Three hosts vote, of five or more five, and one alone when there are fewer than three; far apart, so that they stand
# in different racks.
choose_voters() {
    local all=("$@") n=$# count=1 i text=""
    ((n < 3)) || count=3
    ((n < 5)) || count=5
    [ -z "$(cat "$STATE/voters")" ] || count=$(cat "$STATE/voters")
    for ((i = 0; i < count; i++)); do
        text+="${text:+, }\"${all[i * n / count]}\""
    done
    echo "$text"
}

# agent_configs: agent.conf of every host, from what the world says of each.
agent_configs() {
    local all seeds="" i voters
    mapfile -t all < <(hosts)
    voters=$(choose_voters "${all[@]}")
    for ((i = 0; i < ${#all[@]}; i++)); do
        seeds+="${seeds:+, }\"$(mesh_ip "$i"):7440\""
    done
    for ((i = 0; i < ${#all[@]}; i++)); do
        mkdir "$STATE/hosts/${all[i]}"
    done
    jq -r --arg cluster "$NAME" --arg state "$STATE" --arg net "$(cat "$STATE/net")" --arg seeds "$seeds" \
        --arg voters "$voters" --arg policies "$(cat "$STATE/policies")" --arg folder "$REPO/policies" \
        --arg replace "$(cat "$STATE/replace")" --arg wanted "$(cat "$STATE/voters")" --arg evaluate "$(cat "$STATE/evaluate")" --arg https "$(cat "$STATE/https")" '
        .hosts | to_entries[] | .key as $i | .value |
        "127.\($net).\($i / 250 | floor).\($i % 250 + 1):7440" as $address | [.name, (
        "cluster = \($cluster | @json);",
        "host = \(.name | @json);",
        "state_dir = \("\($state)/hosts/\(.name)/state" | @json);",
        (if .failure_domain then "failure_domain = \(.failure_domain | @json);" else empty end),
        "tags = { \([.tags | to_entries[] | "\(.key) = \(.value | @json);"] | join(" ")) };",
        "mesh = { listen = \($address | @json); seeds = [ \($seeds) ]; };",
        "api = { socket = \("\($state)/hosts/\(.name)/agent.sock" | @json);",
        (if $https != "" then "  listen = \($address | sub(":7440$"; ":7443") | @json);" else empty end), "};",
        "tls = { directory = \("\($state)/hosts/\(.name)/pki/skein" | @json); };",
        "hypervisor = \("sim:\($state)/world.sock" | @json);",
        "sensors = { source = \"none\"; };",
        "migration = { link_mbps = \(.migration_mbps); };",
        "capacity = { reserved_mib = \(.memory_reserved_mib); cpu_overcommit = \(.cpu_overcommit | tojson); memory_overcommit = \(.memory_overcommit | tojson); };",
        "raft = { voters = [ \($voters) ]; election_timeout_ms = 500; replace_after_s = \($replace);" +
        (if $replace != "0" and $wanted != "" then " wanted = \($wanted);" else "" end) + " };",
        "policies = { directory = \($folder | @json); active = [ \($policies) ]; evaluate_interval_s = \($evaluate); };"
        )] | .[0] as $name | .[1:][] | "\($name)\t\(.)"' "$STATE/hosts.json" |
        awk -F '\t' -v at="$STATE/hosts" '{
            file = at "/" $1 "/agent.conf"
            if (file != last && last != "") close(last)
            last = file
            print substr($0, length($1) + 2) >> file
        }'
    [ ! -e "$STATE/agent.extra" ] || for i in "${all[@]}"; do
        sed "s/@HOST@/$i/g" "$STATE/agent.extra" >>"$STATE/hosts/$i/agent.conf"
    done
}

# People first: a host is given the roster of its day.
make_keys() {
    local skein person i
    skein=$(programs)/skein
    "$skein" init --cluster "$NAME" --directory "$STATE/pki" >>"$STATE/log/pki"
    mkdir "$STATE/people"
    cp "$STATE"/pki/people/admin.{pem,key} "$STATE/people/"
    for person in approver operator viewer; do
        "$skein" cert issue --directory "$STATE/pki" --person "$person" --roles "$person" --out "$STATE/people" >>"$STATE/log/pki"
    done
    for i in $(hosts); do
        "$skein" cert issue --directory "$STATE/pki" --host "$i" --dns "$i" --agent-only --out "$STATE/hosts/$i/pki" >>"$STATE/log/pki"
    done
}

agent_begin() {
    local own=$STATE/hosts/$1
    ! recorded "$own/agent" >/dev/null || die "the agent of $1 runs already"
    rm -f "$own/agent.sock" "$own/agent" # of one that was killed
    start_in_background "$own/agent" "$own/agent.log" "$(programs)/skein-agent" -c "$own/agent.conf"
}

agent_ready() {
    wait_for_socket "$STATE/hosts/$1/agent.sock" "$STATE/hosts/$1/agent" ||
        die "the agent of $1 did not start: $(tail -n 1 "$STATE/hosts/$1/agent.log")"
}

agent_start() {
    local host
    for host in "$@"; do
        agent_begin "$host"
    done
    for host in "$@"; do
        agent_ready "$host"
    done
}

# agents_end SIGNAL HOST...: all are told first.
agents_end() {
    local signal=$1 host pid told=()
    shift
    for host in "$@"; do
        pid=$(recorded "$STATE/hosts/$host/agent") || continue
        kill "-$signal" "$pid"
        told+=("$pid")
    done
    for pid in "${told[@]}"; do
        wait_gone "$pid" || die "process $pid does not end"
    done
}

# Suspended: its agent stands still until the host wakes. What power.command of a simulated host calls.
cmd_sleep() {
    local pid
    if [ "$2" = standby ]; then
        ask_world power "$1" standby
    else
        ask_world power "$1" on
    fi
    pid=$(recorded "$STATE/hosts/$1/agent") || return 0
    if [ "$2" = standby ]; then kill -STOP "$pid"; else kill -CONT "$pid"; fi
}

# The world takes the guests, here goes the agent: killed, so that its connections are closed, or stopped for good.
cmd_power() {
    local host=${1-} what=${2-} pid
    [[ "${*:2}" =~ ^(on|off|off\ --silent|standby|wake)$ ]] ||
        usage "power wants a host, and: on, off, off --silent, standby or wake"
    need_host "$host"
    if [[ $what =~ ^(standby|wake)$ ]]; then
        cmd_sleep "$host" "$what"
        return
    fi
    if [ "$what" = on ]; then
        agents_end KILL "$host" # the one that was stopped
        ask_world power "$host" on
        agent_start "$host"
        return
    fi
    ask_world power "${@}"
    if pid=$(recorded "$STATE/hosts/$host/agent"); then
        if [ $# = 3 ]; then kill -STOP "$pid"; else agents_end KILL "$host"; fi
    fi
}

cmd_agent() {
    local what=${1-} some=() host
    [[ $what =~ ^(start|stop|kill)$ ]] || usage "agent wants start, stop or kill"
    shift
    some=("$@")
    need_up
    [ ${#some[@]} -gt 0 ] || mapfile -t some < <(hosts)
    for host in "${some[@]}"; do
        need_host "$host"
    done
    case $what in
    start) agent_start "${some[@]}" ;;
    stop) agents_end TERM "${some[@]}" ;;
    kill) agents_end KILL "${some[@]}" ;;
    esac
}
