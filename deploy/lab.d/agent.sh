# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # names shared by the parts
# agent.sh - skein-agent on the lab's hosts.

# The first three hosts vote, of five or more the first five, and one alone when there are fewer than three.
agent_voters() {
    local n=$1 count=1 i text=""
    ((n < 3)) || count=3
    ((n < 5)) || count=5
    for ((i = 1; i <= count; i++)); do
        text+="${text:+, }\"hv$i\""
    done
    echo "$text"
}

agent_conf() {
    local host=$1 other seeds=""
    for other in $(hosts); do
        [ "$other" = "$host" ] || seeds+="${seeds:+, }\"$(mesh_ip "$other"):7440\""
    done
    cat <<END
cluster = "$LAB";
host = "$host";
state_dir = "/var/lib/skein";
failure_domain = "lab/r${host#hv}";
mesh = { listen = "$(mesh_ip "$host"):7440"; seeds = [ $seeds ]; };
api = { listen = "$(mesh_ip "$host"):7443"; socket = "/run/skein/agent.sock"; };
tls = { directory = "/etc/pki/skein"; };
hypervisor = "libvirt:qemu:///system";
migration = { address = "$(migration_ip "$host")"; };
sensors = { source = "hwmon"; };
raft = { voters = [ $(agent_voters "$(host_count)") ]; election_timeout_ms = 500; };
END
    [ ! -e "$STATE/agent.extra" ] || sed "s/@HOST@/$host/g; s/@N@/${host#hv}/g" "$STATE/agent.extra"
}

agent_start() {
    local host=$1 own=$STATE/hosts/$1
    need_power "$host"
    ! host_process "$host" agent >/dev/null || die "the agent of $host runs already"
    agent_conf "$host" >"$own/etc/skein/agent.conf"
    touch "$own/agent.wanted"
    # shellcheck disable=SC2016
    in_host "$host" sh -c '
        rm -f /run/skein/agent.sock # of one that was killed
        setsid sh -c '\''echo $$ >/run/agent.pid; exec "$0" -c /etc/skein/agent.conf'\'' "$1" \
            </dev/null >>/var/log/skein/agent.log 2>&1 9>&- &
        agent=$!
        for i in $(seq 500); do
            [ ! -S /run/skein/agent.sock ] || exit 0
            [ -d "/proc/$agent" ] || exit 1
            sleep 0.02
        done
        exit 1' - "$(build_folder)/bin/skein-agent" ||
        die "the agent of $host did not start: $(tail -n 1 "$own/var/log/skein/agent.log")"
}

agent_stop() {
    local pid
    need_power "$1"
    rm -f "$STATE/hosts/$1/agent.wanted"
    pid=$(host_process "$1" agent) || return 0
    # shellcheck disable=SC2016
    in_host "$1" sh -c 'kill "$1"; for i in $(seq 500); do [ -d "/proc/$1" ] || exit 0; sleep 0.02; done; exit 1' - "$pid" ||
        die "the agent of $1 does not end"
}

# Where the programs are: as last said with --build, or by the environment.
build_folder() {
    cat "$STATE/build" 2>/dev/null || readlink -m "$BUILD"
}

# agent_settings BUILD EXTRA: kept for later starts; empty means as before.
agent_settings() {
    if [ -n "$1" ]; then
        [ -d "$1/bin" ] || die "there is no folder $1/bin"
        readlink -f "$1" >"$STATE/build"
    fi
    [ -z "$2" ] || cp "$2" "$STATE/agent.extra"
}

# each DO HOST...: on all of the hosts at once.
each() {
    local action=$1 jobs=() job host status=0
    shift
    for host in "$@"; do
        "$action" "$host" &
        jobs+=($!)
    done
    for job in "${jobs[@]}"; do
        wait "$job" || status=1
    done
    return $status
}

cmd_agent() {
    local what=${1-} build="" extra="" some=()
    [[ $what =~ ^(start|stop)$ ]] || usage "agent wants start or stop"
    shift
    while [ $# -gt 0 ]; do
        case $1 in
        --build | --agent-config) need $# "$1" ;;&
        --build) build=$2 && shift 2 ;;
        --agent-config) extra=$2 && shift 2 ;;
        -*) usage "agent does not know '$1'" ;;
        *) some+=("$1") && shift ;;
        esac
    done
    need_lab
    [ ${#some[@]} -gt 0 ] || mapfile -t some < <(hosts)
    agent_settings "$build" "$extra"
    each "agent_$what" "${some[@]}"
}
