# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # names shared by the parts
# up.sh - a simulated cluster's beginning, its end, and what can be seen of it.

# quoted_list A,B: "A", "B"
quoted_list() {
    local item text=""
    [[ $1 =~ ^[a-z0-9_]*(,[a-z0-9_]+)*$ ]] || usage "--policies wants names with commas between them, not '$1'"
    for item in ${1//,/ }; do
        [ -r "$REPO/policies/$item.lua" ] || die "there is no policy '$item' in $REPO/policies"
        text+="${text:+, }\"$item\""
    done
    echo "$text"
}

check_programs() {
    local tool missing=""
    for tool in awk column flock jq setsid; do
        command -v "$tool" >/dev/null || missing+=" $tool"
    done
    [ -z "$missing" ] || impossible "missing:$missing (deploy/install-packages --profile sim brings them)"
    for tool in skein skein-agent skein-sim; do
        [ -x "$(programs)/$tool" ] || die "there is no $(programs)/$tool: build it, or name another folder with --build"
    done
}

# A part of 127.0.0.0/8 that nobody listens at: 127.64.* to 127.254.*, begun at a place that depends on the name.
choose_net() {
    local net i taken
    net=$(($(cksum <<<"$(id -u) $NAME" | cut -d ' ' -f 1) % 190))
    for ((i = 0; i < 190; i++)); do
        taken=$(printf '%02X7F:' $((64 + (net + i) % 190)))
        # /proc/net/tcp: "sl local_address ...", the address with its last byte first; state 0A listens. Those of sockets
        # for both families stand in tcp6, behind 24 digits.
        if ! cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
            awk -v part="$taken" '$4 == "0A" && (index($2, part) == 5 || index($2, part) == 29) { found = 1 }
                END { exit !found }'; then
            echo $((64 + (net + i) % 190))
            return
        fi
    done
    die "no part of 127.0.0.0/8 is free"
}

start_world() {
    start_in_background "$STATE/world" "$STATE/log/world" "$(programs)/skein-sim" --socket "$STATE/world.sock" "$@"
    wait_for_socket "$STATE/world.sock" "$STATE/world" || die "the world did not start: $(tail -n 1 "$STATE/log/world")"
    ask_world status -o json >"$STATE/hosts.json"
    jq -r '.hosts[].name' "$STATE/hosts.json" >"$STATE/names"
}

# Sets the variables of cmd_up from its arguments.
read_up() {
    while [ $# -gt 0 ]; do
        case $1 in
        --no-agents | --https)
            if [ "$1" = --https ]; then https=1; else agents=""; fi
            shift
            continue
            ;;
        --hosts | --guests | --seed | --snapshot | --speed | --at | --world | --policies | --evaluate | --voters | --replace-after | --agent-config | --build) need $# "$1" ;;
        *) usage "up does not know '$1'" ;;
        esac
        case $1 in
        --hosts | --guests | --evaluate | --voters | --replace-after) is_number "$2" || usage "$1 wants a number, not '$2'" ;;&
        --hosts) hosts=$2 && world+=("--hosts=$2") ;;
        --guests) world+=("--vms=$2") ;;
        --seed | --speed | --at | --snapshot) world+=("$1=$2") ;;&
        --snapshot) [ -r "$2" ] || die "cannot read $2" ;;
        --world) world+=("$2") ;;
        --policies) policies=$(quoted_list "$2") ;;
        --evaluate) evaluate=$2 ;;
        --voters) voters=$2 ;;
        --replace-after) replace=$2 ;;
        --agent-config) extra=$2 ;;
        --build) build=$2 ;;
        esac
        shift 2
    done
}

cmd_up() {
    local world=() hosts="" agents=1 policies="" evaluate=2 extra="" build="" https="" voters="" replace=0
    read_up "$@"
    [ -z "$extra" ] || [ -r "$extra" ] || die "cannot read $extra"
    [ -z "$build" ] || [ -d "$build/bin" ] || die "there is no folder $build/bin"
    make_root
    take_lock "$ROOT"
    ! is_up || die "cluster '$NAME' is up already"
    end_cluster # what one that was cut short has left
    mkdir -m 700 "$STATE"
    trap up_failed EXIT
    trap 'exit 130' INT TERM HUP
    mkdir "$STATE"/{log,hosts}
    [ -z "$build" ] || readlink -f "$build/bin" >"$STATE/build"
    check_programs
    echo "$policies" >"$STATE/policies"
    echo "$evaluate" >"$STATE/evaluate"
    [ -z "$extra" ] || cp "$extra" "$STATE/agent.extra"
    echo "$https" >"$STATE/https"
    echo "$voters" >"$STATE/voters"
    echo "$replace" >"$STATE/replace"
    start_world "${world[@]}"
    [ -z "$agents" ] || up_agents
    trap - EXIT
}

up_agents() {
    local all longest
    mapfile -t all < <(hosts)
    longest=$STATE/hosts/${all[-1]}/agent.sock
    ((${#longest} <= SOCKET_PATH_MAX)) ||
        die "$longest is too long for a socket's path: name a shorter folder with SKEIN_SIM_ROOT"
    choose_net >"$STATE/net"
    agent_configs
    make_keys
    agent_start "${all[@]}"
}

# What failed has said why; a half-made cluster is of no use to anybody.
up_failed() {
    trap - EXIT
    trap '' INT TERM HUP
    end_cluster
    exit 1
}

# end_cluster: every process of it, then its files. Agents that were just begun are found too.
end_cluster() {
    local file pid all=()
    [ ! -d "$STATE" ] || : >"$STATE/ending"
    for file in "$STATE"/hosts/*/agent "$STATE/world"; do
        pid=$(recorded "$file") || continue
        kill -9 "$pid" 2>/dev/null || : # ended just now
        all+=("$pid")
    done
    for pid in "${all[@]}"; do
        wait_gone "$pid" || die "process $pid does not end"
    done
    rm -rf --one-file-system "$STATE"
}

cmd_down() {
    [ $# -eq 0 ] || usage "down takes nothing"
    [ -d "$STATE" ] || { rmdir "$ROOT" 2>/dev/null || : && return; }
    make_root
    take_lock "$ROOT"
    end_cluster
    rmdir --ignore-fail-on-non-empty "$ROOT"
}

cmd_status() {
    local json host running=()
    need_up
    for host in $(hosts); do
        ! recorded "$STATE/hosts/$host/agent" >/dev/null || running+=("$host")
    done
    json=$(ask_world status -o json | jq --arg name "$NAME" --arg state "$STATE" --args '
        ($ARGS.positional | map({(.): true}) | add // {}) as $agents | {name: $name, state: $state} + . |
        .hosts |= map(.agent = ($agents[.name] // false))' "${running[@]}")
    case "$*" in
    "-o json") cat <<<"$json" && return ;;
    "") ;;
    *) usage "only -o json is known here, not '$*'" ;;
    esac
    jq -r '(["HOST", "POWER", "AGENT", "GUESTS", "CORES", "CPU", "WATT", "TROUBLE"] | @tsv),
        (.hosts[] | [.name, .power, (.agent | if . then "on" else "off" end), .running,
            "\(.used_cores * 10 | round / 10)/\(.cores)", "\(.cpu_celsius | round) C", (.watts | round),
            if .trouble == "" then "-" else .trouble end] | @tsv)' <<<"$json" | column -t -s $'\t'
    jq -r '"\(.at): \(.guests | length) guests, \([.guests[] | select(.running != 1)] | length) of them not running once"' <<<"$json"
}
