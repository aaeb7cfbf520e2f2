# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # names shared by the parts
# base.sh - names, processes and the ways into a lab's namespaces.
#
# A lab is one process namespace with a mount and a network namespace of its own; its hosts are namespaces nested in
# it. Nothing of it is in the machine's own namespaces, so ending the lab's first process ends all of it: mounts,
# bridges, veths and FUSE go with the namespaces that hold them.
#
#   STATE/top          the process above the lab's first one (see `record`)
#   STATE/init         the lab's first process, as numbered outside
#   STATE/hosts/hvN/   what is the host's own; `init` there is its first process
#   STATE/shared/      what stands behind the shared storage
#   STATE/guests/NAME/ what `guest add` decided
# Inside, STATE is seen as /srv/lab and the shared storage as /srv/shared.

LAB=${SKEIN_LAB:-lab}
LAB_ROOT=$(readlink -m "${SKEIN_LAB_ROOT:-/var/lib/skein-lab}")
BUILD=${SKEIN_BUILD:-$REPO/build}
STATE=
MAX_HOSTS=99

set_lab() {
    [[ $1 =~ ^[a-z0-9][a-z0-9_.-]{0,40}$ ]] || usage "a lab's name is of a-z, 0-9, '_', '.' and '-', not '$1'"
    LAB=$1
    STATE=$LAB_ROOT/$LAB
}

# --- processes -----------------------------------------------------------------------------------------------------

# only_child PID: its first child, once there is one (5 s at most).
only_child() {
    local i children
    for ((i = 0; i < 250; i++)); do
        children=
        { read -r children <"/proc/$1/task/$1/children"; } 2>/dev/null || : # the line has no end
        if [ -n "$children" ]; then
            echo "${children%% *}"
            return
        fi
        [ -e "/proc/$1" ] || return 1
        sleep 0.02
    done
    return 1
}

# --- the lab and its hosts -----------------------------------------------------------------------------------------

lab_init() {
    recorded "$STATE/init"
}

need_lab() {
    lab_init >/dev/null || die "lab '$LAB' is not up"
}

# in_lab CMD...: in the lab's namespaces.
in_lab() {
    local init
    init=$(lab_init) || die "lab '$LAB' is not up"
    nsenter -t "$init" -m -u -i -n -p -- "$@"
}

# in_lab_net CMD...: in its network only, where process numbers are those of the machine.
in_lab_net() {
    local init
    init=$(lab_init) || die "lab '$LAB' is not up"
    nsenter -t "$init" -n -- "$@"
}

# spawn FILE LOG CMD...: in the lab's namespaces and in the background; FILE records the process.
spawn() {
    local file=$1 log=$2 init pid
    shift 2
    init=$(lab_init) || die "lab '$LAB' is not up"
    setsid nsenter -t "$init" -m -u -i -n -p -- "$@" </dev/null >>"$log" 2>&1 9>&- &
    disown $!
    pid=$(only_child $!) || die "${1##*/} did not start: $(tail -n 1 "$log")"
    record "$file" "$pid"
}

host_count() {
    cat "$STATE/count" 2>/dev/null || echo 0
}

hosts() {
    local n count
    count=$(host_count)
    for ((n = 1; n <= count; n++)); do
        echo "hv$n"
    done
}

need_host() {
    need_lab
    if ! [[ $1 =~ ^hv[1-9][0-9]?$ ]] || ((${1#hv} > $(host_count))); then
        die "lab '$LAB' has no host '$1'"
    fi
}

host_init() {
    recorded "$STATE/hosts/$1/init"
}

need_power() {
    need_host "$1"
    host_init "$1" >/dev/null || die "host $1 is switched off"
}

# in_host HOST CMD...: in all of the host's namespaces.
in_host() {
    local init
    init=$(host_init "$1") || die "host $1 is switched off"
    shift
    nsenter -t "$init" -m -u -i -n -p -- "$@"
}

mesh_ip() {
    echo "10.77.0.${1#hv}"
}

migration_ip() {
    echo "10.78.0.${1#hv}"
}

# uuid_of WORDS...: the same words give the same UUID.
uuid_of() {
    local h
    h=$(sha256sum <<<"$*")
    echo "${h:0:8}-${h:8:4}-4${h:13:3}-8${h:17:3}-${h:20:12}"
}
