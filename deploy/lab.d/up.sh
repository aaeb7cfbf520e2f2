# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # names shared by the parts
# up.sh - a lab's beginning, its end, and what can be seen of it.

# Ends with status 3 and one line when real hosts cannot be had on this machine.
check_machine() {
    local tool missing="" why
    for tool in bindfs column gcc hostname ip jq libvirtd nsenter qemu-nbd qemu-system-x86_64 tc unshare uuidgen virsh virt-pki-query-dn; do
        command -v "$tool" >/dev/null || missing+=" $tool"
    done
    [ -z "$missing" ] || impossible "missing:$missing (deploy/install-packages --profile lab brings them)"
    [ -c /dev/fuse ] || impossible "there is no /dev/fuse"
    # shellcheck disable=SC2016
    why=$(unshare --mount --uts --ipc --net --pid --fork --mount-proc bash -c '
        try() { "$@" >/dev/null 2>&1 || { echo "$why"; exit; }; }
        why="a file system in memory cannot be mounted"; try mount -t tmpfs lab /srv
        mkdir -p /srv/u /srv/w
        why="overlayfs is not to be had"; try mount -t overlay -o lowerdir=/etc,upperdir=/srv/u,workdir=/srv/w lab /etc
        why="sysfs cannot be mounted"; try mount -t sysfs lab /sys
        why="veth is not to be had"; try ip link add name veth0 type veth peer name veth1
        why="bridges are not to be had"; try ip link add name bridge0 type bridge
        (: <>/dev/fuse) 2>/dev/null || echo "/dev/fuse cannot be opened"' 2>/dev/null) ||
        why="namespaces cannot be made"
    [ -z "$why" ] || impossible "$why"
}

# Programs of the lab's own, from their sources: no compiler's output lies about.
build_programs() {
    local part
    mkdir -p "$STATE/bin" "$STATE/shared/kernel"
    for part in init pulse heat; do
        gcc -std=gnu17 -O2 -Wall -Wextra -D_FORTIFY_SOURCE=2 -o "$STATE/bin/$part" "$HERE/lab.d/$part.c"
    done
    cp "$HERE"/lab.d/inside-{lab,host} "$STATE/bin/"
    guest_build "$STATE/shared/kernel/guest.elf"
}

start_lab() {
    local top init i
    (
        record "$STATE/top" "$BASHPID"
        exec setsid unshare --mount --uts --ipc --net --pid --fork --kill-child --mount-proc \
            "$STATE/bin/inside-lab" "$STATE" "$REPO" </dev/null >"$STATE/log/lab" 2>&1 9>&-
    ) &
    top=$!
    disown "$top"
    for ((i = 0; i < 500; i++)); do
        [ ! -e "$STATE/ready" ] || break
        [ -e "/proc/$top" ] || break
        sleep 0.02
    done
    if [ ! -e "$STATE/ready" ] || ! init=$(only_child "$top"); then
        die "the lab does not come up: $(tail -n 1 "$STATE/log/lab")"
    fi
    record "$STATE/init" "$init"
}

cmd_up() {
    local count="" agents="" build="" extra="" all host programs
    while [ $# -gt 0 ]; do
        case $1 in
        --agents)
            agents=1
            shift
            continue
            ;;
        --hosts | --build | --agent-config) need $# "$1" ;;
        *) usage "up does not know '$1'" ;;
        esac
        case $1 in
        --hosts) count=$2 ;;
        --build) build=$2 ;;
        --agent-config) extra=$2 ;;
        esac
        shift 2
    done
    if ! is_number "$count" || ((count < 1 || count > MAX_HOSTS)); then
        usage "up wants --hosts 1 to $MAX_HOSTS"
    fi
    [ -z "$extra" ] || [ -r "$extra" ] || die "cannot read $extra"
    check_machine
    take_lock "$LAB_ROOT"
    ! lab_init >/dev/null || die "lab '$LAB' is up already, with $(host_count) hosts"
    end_lab # what a lab that was cut short has left
    mkdir -m 700 "$STATE"
    trap up_failed EXIT
    mkdir -p "$STATE"/{log,pulse,guests,nbd,ports,hosts,shared/console}
    echo "$count" >"$STATE/count"
    mapfile -t all < <(hosts)
    agent_settings "$build" "$extra"
    build_programs & # like all that runs here in the background, it holds the lock until it ends
    programs=$!
    lab_pki_roots
    each lab_pki "${all[@]}"
    lab_pki_names
    each host_files "${all[@]}"
    wait "$programs"
    start_lab
    for host in "${all[@]}"; do
        host_launch "$host"
    done
    host_wait "${all[@]}"
    [ -z "$agents" ] || each agent_start "${all[@]}"
    trap - EXIT
}

# What failed has said why; a half-made lab is of no use to anybody.
up_failed() {
    trap - EXIT
    wait # for what still writes there
    end_lab
    exit 1
}

# end_lab: every process of it ends with its first one; then its files go.
end_lab() {
    local file pid below
    for file in "$STATE/init" "$STATE/top"; do
        pid=$(recorded "$file") || continue
        below=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null) || : # they end with it
        kill -9 "$pid"
        for pid in $pid $below; do
            wait_gone "$pid" || die "process $pid of the lab does not end"
        done
    done
    rm -rf --one-file-system "$STATE"
}

cmd_down() {
    [ $# -eq 0 ] || usage "down takes nothing"
    [ -d "$STATE" ] || return 0
    take_lock "$LAB_ROOT"
    end_lab
    rmdir --ignore-fail-on-non-empty "$LAB_ROOT"
}

# --- status --------------------------------------------------------------------------------------------------------

# sensor HOST SENSOR: degrees, or null when there is nothing sensible to read
sensor() {
    { cat "$(heat_file "$1" "$2")" 2>/dev/null || :; } |
        awk '/^-?[0-9]+$/ { print $1 / 1000; found = 1 } END { if (!found) print "null" }'
}

link_state() {
    local line rate
    line=$(in_lab_net ip -o link show "$(port_of "$2" "$1")" 2>/dev/null) || { echo down && return; }
    [[ $line =~ [\<,]UP[\>,] ]] || { echo down && return; }
    rate=$(in_lab_net tc qdisc show dev "$(port_of "$2" "$1")" | sed -n 's/^qdisc tbf .* rate \([^ ]*\).*/\1/p')
    echo "${rate:-up}"
}

yes_no() {
    if "$@" >/dev/null 2>&1; then echo true; else echo false; fi
}

status_host() {
    local host=$1 guests=0 power
    power=$(yes_no host_init "$host")
    [ "$power" = false ] || guests=$(in_host "$host" sh -c 'ls /run/libvirt/qemu/*.xml 2>/dev/null | wc -l')
    printf '{"name":"%s","power":%s,"libvirtd":%s,"agent":%s,"guests":%d,"mesh":"%s","migration":"%s",' "$host" "$power" \
        "$(yes_no host_process "$host" libvirtd)" "$(yes_no host_process "$host" agent)" "$guests" \
        "$(link_state "$host" mesh)" "$(link_state "$host" migration)"
    printf '"cpu_celsius":%s,"inlet_celsius":%s}\n' "$(sensor "$host" cpu)" "$(sensor "$host" inlet)"
}

status_json() {
    local host
    if lab_init >/dev/null; then
        for host in $(hosts); do
            status_host "$host"
        done
    fi | jq -s --arg lab "$LAB" --arg state "$STATE" --argjson up "$(yes_no lab_init)" \
        --argjson model "$(yes_no heat_model_runs)" '{lab: $lab, up: $up, state: $state, heat_model: $model, hosts: .}'
}

cmd_status() {
    local json
    ! json_wanted "$@" || { status_json && return; }
    json=$(status_json)
    if [ "$(jq .up <<<"$json")" = false ]; then
        echo "lab '$LAB' is not up"
        return
    fi
    jq -r '(["HOST", "POWER", "LIBVIRTD", "AGENT", "GUESTS", "MESH", "MIGRATION", "CPU", "INLET"] | @tsv),
        (.hosts[] | [.name, (.power, .libvirtd, .agent | if . then "on" else "off" end), .guests, .mesh, .migration,
            (.cpu_celsius, .inlet_celsius | if . then "\(.) C" else "?" end)] | @tsv)' <<<"$json" | column -t -s $'\t'
}
