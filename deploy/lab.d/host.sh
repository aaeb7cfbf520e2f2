# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # names shared by the parts
# host.sh - one host: its files, its power, its libvirtd.

# host_files HOST: what lasts from one boot of the host to the next.
host_files() {
    local host=$1 own=$STATE/hosts/$1 uuid
    uuid=$(uuid_of "$LAB" "$host")
    mkdir -p "$own"/{etc/{libvirt/storage/autostart,libvirt/qemu,skein},heat}
    mkdir -p "$own"/var/{lib/{libvirt/images,skein},log/{libvirt,skein},cache/libvirt}
    echo "$host" >"$own/etc/hostname"
    tr -d - <<<"$uuid" >"$own/etc/machine-id"
    host_libvirt_conf "$uuid" >"$own/etc/libvirt/libvirtd.conf"
    host_qemu_conf "$(migration_ip "$host")" >"$own/etc/libvirt/qemu.conf"
    host_pool "$host" shared /srv/shared
    host_pool "$host" local /var/lib/libvirt/images
    heat_files "$host"
}

host_libvirt_conf() {
    cat <<END
listen_tls = 1
listen_tcp = 0
listen_addr = "0.0.0.0"
auth_tls = "none"
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_group = "root"
tls_allowed_dn_list = [ $(<"$STATE/names") ]
host_uuid = "$1"
keepalive_interval = 2
keepalive_count = 3
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
END
}

host_qemu_conf() {
    cat <<END
security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
stdio_handler = "file"
cgroup_controllers = []
namespaces = []
clear_emulator_capabilities = 0
migration_host = "$1"
migrate_tls_x509_verify = 1
default_tls_x509_verify = 1
keepalive_interval = 2
keepalive_count = 3
END
}

host_pool() {
    local at=$STATE/hosts/$1/etc/libvirt/storage
    cat >"$at/$2.xml" <<END
<pool type='dir'>
  <name>$2</name>
  <uuid>$(uuid_of "$LAB" "$1" "pool $2")</uuid>
  <source/>
  <target><path>$3</path></target>
</pool>
END
    ln -sf "/etc/libvirt/storage/$2.xml" "$at/autostart/$2.xml"
}

# host_launch HOST: switches it on and returns at once; host_wait says when it is there.
host_launch() {
    local host=$1 n=${1#hv} own=$STATE/hosts/$1 lab top init mac
    lab=$(lab_init)
    setsid nsenter -t "$lab" -m -u -i -n -p -- unshare --mount --uts --ipc --net --pid --fork --kill-child \
        --mount-proc /srv/lab/bin/inside-host "$host" </dev/null >>"$own/boot.log" 2>&1 9>&- &
    top=$!
    disown "$top"
    if ! init=$(only_child "$top") || ! init=$(only_child "$init"); then
        die "host $host did not start: $(tail -n 1 "$own/boot.log")"
    fi
    record "$own/init" "$init"
    readlink "/proc/$init/ns/pid" >"$own/pidns"
    mac=$(printf '%02x' "$n")
    in_lab_net ip -batch - <<END
link add name mesh-$host type veth peer name eth0 address 52:54:77:00:00:$mac netns $init
link add name mig-$host type veth peer name eth1 address 52:54:78:00:00:$mac netns $init
link set mesh-$host master mesh up
link set mig-$host master migration up
END
}

# host_wait HOST...: until libvirtd of each takes connections.
host_wait() {
    local host
    for host in "$@"; do
        host_init "$host" >/dev/null || die "host $host went out: $(tail -n 1 "$STATE/hosts/$host/boot.log")"
        # shellcheck disable=SC2016 # for the shell inside
        in_host "$host" bash -c 'for ((i = 0; i < 750; i++)); do
            { : </dev/tcp/$1/16514; } 2>/dev/null && exit; sleep 0.02; done; exit 1' - "$(mesh_ip "$host")" ||
            die "libvirtd of $host does not answer; see: lab logs $host libvirtd"
    done
}

# host_process HOST NAME: the number, inside the host, of its libvirtd or agent if that lives.
host_process() {
    host_init "$1" >/dev/null || return 1
    # shellcheck disable=SC2016
    in_host "$1" sh -c 'pid=$(cat "/run/$1.pid") && [ -d "/proc/$pid" ] && echo "$pid"' - "$2" 2>/dev/null
}

libvirtd_start() {
    need_power "$1"
    ! host_process "$1" libvirtd >/dev/null || die "libvirtd of $1 runs already"
    in_host "$1" sh -c 'setsid libvirtd -l -p /run/libvirtd.pid </dev/null >>/var/log/libvirt/libvirtd.out 2>&1 9>&- &'
    host_wait "$1"
}

# process_kill HOST libvirtd|agent
process_kill() {
    local pid
    need_power "$1"
    pid=$(host_process "$1" "$2") || die "$2 of $1 does not run"
    # shellcheck disable=SC2016
    in_host "$1" sh -c 'kill -9 "$1"; while [ -d "/proc/$1" ]; do sleep 0.02; done' - "$pid"
}

power_off() {
    local init
    need_power "$1"
    init=$(host_init "$1")
    kill -9 "$init"
    wait_gone "$init" || die "host $1 does not end"
    rm -f "$STATE/hosts/$1/init" "$STATE/hosts/$1/pidns"
}

power_on() {
    need_host "$1"
    ! host_init "$1" >/dev/null || die "host $1 is on already"
    in_lab_net ip link del "mesh-$1" 2>/dev/null || : # a power cut is faster than the end of a network
    in_lab_net ip link del "mig-$1" 2>/dev/null || :
    host_launch "$1"
    host_wait "$1"
    [ ! -e "$STATE/hosts/$1/agent.wanted" ] || agent_start "$1"
}

cmd_kill() {
    (($# == 2 || $# == 3)) || usage "kill wants HOST and agent, libvirtd or power"
    [[ $2 =~ ^(agent|libvirtd|power)$ ]] || usage "kill knows agent, libvirtd and power, not '$2'"
    [ "${3---silent}" = --silent ] || usage "kill does not know '$3'"
    need_power "$1"
    [ $# -eq 2 ] || link_set "$1" down mesh migration
    if [ "$2" = power ]; then
        power_off "$1"
    else
        process_kill "$1" "$2"
    fi
}

cmd_start() {
    [ $# -eq 2 ] || usage "start wants HOST and agent, libvirtd or power"
    need_host "$1"
    case $2 in
    agent) agent_start "$1" ;;
    libvirtd) libvirtd_start "$1" ;;
    power) power_on "$1" ;;
    *) usage "start knows agent, libvirtd and power, not '$2'" ;;
    esac
}

cmd_exec() {
    local init
    [ $# -ge 2 ] || usage "exec wants HOST and a command"
    need_power "$1"
    init=$(host_init "$1")
    shift
    PATH=$(build_folder)/bin:$PATH exec nsenter -t "$init" -m -u -i -n -p -- "$@"
}

cmd_logs() {
    [ $# -ge 1 ] || usage "logs wants HOST"
    need_host "$1"
    case ${2:-agent} in
    agent) cat "$STATE/hosts/$1/var/log/skein/agent.log" ;;
    libvirtd) cat "$STATE/hosts/$1"/var/log/libvirt/libvirtd.{out,log} ;;
    *) usage "logs knows agent and libvirtd, not '$2'" ;;
    esac
}

# --- links ---------------------------------------------------------------------------------------------------------

port_of() {
    case $1 in
    mesh) echo "mesh-$2" ;;
    migration) echo "mig-$2" ;;
    esac
}

link_set() {
    local host=$1 state=$2 net
    shift 2
    for net in "$@"; do
        in_lab_net ip link set "$(port_of "$net" "$host")" "$state"
    done
}

# bits RATE: 40mbit -> 40000000
bits() {
    local -A unit=([bit]=1 [kbit]=1000 [mbit]=1000000 [gbit]=1000000000)
    [[ $1 =~ ^([1-9][0-9]{0,8})(bit|kbit|mbit|gbit)$ ]] || return 1
    echo $((BASH_REMATCH[1] * ${unit[${BASH_REMATCH[2]}]}))
}

# link_rate HOST RATE NET...: both ways. The bucket holds 10 ms, and at least two of the biggest packets.
link_rate() {
    local host=$1 rate=$2 net burst dev
    shift 2
    burst=$(($(bits "$rate") / 8 / 100))
    ((burst > 131072)) || burst=131072
    for net in "$@"; do
        dev=eth0
        [ "$net" = mesh ] || dev=eth1
        in_lab_net tc qdisc replace dev "$(port_of "$net" "$host")" root tbf rate "$rate" burst "$burst" latency 400ms
        in_host "$host" tc qdisc replace dev "$dev" root tbf rate "$rate" burst "$burst" latency 400ms
    done
}

link_unlimit() {
    local host=$1 net dev
    shift
    for net in "$@"; do
        dev=eth0
        [ "$net" = mesh ] || dev=eth1
        in_lab_net tc qdisc del dev "$(port_of "$net" "$host")" root 2>/dev/null || :
        in_host "$host" tc qdisc del dev "$dev" root 2>/dev/null || :
    done
}

cmd_link() {
    local host what nets=(mesh migration)
    [ $# -ge 2 ] || usage "link wants HOST and down, up or a rate"
    host=$1 what=$2
    shift 2
    while [ $# -gt 0 ]; do
        case $1 in
        --net)
            need $# --net
            [ "$2" = mesh ] || [ "$2" = migration ] || usage "--net is mesh or migration, not '$2'"
            nets=("$2")
            shift 2
            ;;
        *) usage "link does not know '$1'" ;;
        esac
    done
    case $what in
    down) need_power "$host" && link_set "$host" down "${nets[@]}" ;;
    up)
        need_power "$host"
        link_unlimit "$host" "${nets[@]}"
        link_set "$host" up "${nets[@]}"
        ;;
    *)
        bits "$what" >/dev/null || usage "link wants down, up or a rate such as 40mbit, not '$what'"
        need_power "$host"
        link_rate "$host" "$what" "${nets[@]}"
        ;;
    esac
}
