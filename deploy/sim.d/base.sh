# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # names shared by the parts
# base.sh - where a simulated cluster's files are, and what there is of it.
#
#   STATE/world        the process of skein-sim (see `record`), STATE/world.sock its socket
#   STATE/net          the second number of its addresses: 127.NET.0.1 is the first host's
#   STATE/hosts.json   what the world says of its hosts at the start
#   STATE/hosts/HOST/  agent.conf, agent.sock, the agent's own state and keys; `agent` records its process
#   STATE/pki, people  the authority's folder, and people's keys

BUILD=${SKEIN_BUILD:-$REPO/build}
SOCKET_PATH_MAX=107 # bytes, of a Unix socket

# The user's own place: where programs keep their state, or a folder of /tmp where that cannot be written.
default_root() {
    local state=${XDG_STATE_HOME:-${HOME:-/nonexistent}/.local/state}
    if mkdir -p "$state/skein-sim" 2>/dev/null && [ -w "$state/skein-sim" ]; then
        echo "$state/skein-sim"
    else
        echo "${TMPDIR:-/tmp}/skein-sim-$(id -u)"
    fi
}

set_name() {
    [[ $1 =~ ^[a-z0-9][a-z0-9_.-]{0,40}$ ]] || usage "a cluster's name is of a-z, 0-9, '_', '.' and '-', not '$1'"
    NAME=$1
    ROOT=$(readlink -m "${SKEIN_SIM_ROOT:-$(default_root)}")
    STATE=$ROOT/$NAME
}

# In a folder that others can write to, another's link or folder of that name must not be taken for ours.
make_root() {
    mkdir -p "$ROOT"
    [ -O "$ROOT" ] && [ ! -L "$ROOT" ] || die "$ROOT is not yours: name another folder with SKEIN_SIM_ROOT"
    chmod go-rwx "$ROOT"
}

# Where the programs are: as last said with --build, or by the environment.
programs() {
    cat "$STATE/build" 2>/dev/null || readlink -m "$BUILD/bin"
}

is_up() {
    recorded "$STATE/world" >/dev/null
}

need_up() {
    is_up || die "cluster '$NAME' is not up; see: sim up --help"
}

hosts() {
    cat "$STATE/names" 2>/dev/null || :
}

need_host() {
    need_up
    [[ $1 =~ ^[A-Za-z0-9][A-Za-z0-9_.-]*$ ]] && [ -d "$STATE/hosts/$1" ] || die "cluster '$NAME' has no host '$1'"
}

# mesh_ip NUMBER: of the host that is the NUMBERth, from 1.
mesh_ip() {
    echo "127.$(cat "$STATE/net").$(($1 / 250)).$(($1 % 250 + 1))"
}

# start_in_background FILE LOG CMD...: FILE records the process; it does not die with its starter's terminal. It does not
# begin in a cluster that is being ended: it is recorded before it looks, and who ends looks at the records after saying so.
start_in_background() {
    local file=$1 log=$2 files
    shift 2
    files=$(ulimit -Hn)
    [ "$files" != unlimited ] && ((files < 65536)) || files=65536
    (
        ulimit -n "$files"
        record "$file" "$BASHPID" && [ ! -e "$STATE/ending" ] || exit
        exec setsid -- "$@" </dev/null >>"$log" 2>&1 9>&-
    ) &
    disown $!
}

# wait_for_socket SOCKET FILE: until it is there (30 s at most), as long as the process that FILE records lives.
wait_for_socket() {
    local i
    for ((i = 0; i < 600; i++)); do
        [ ! -S "$1" ] || return 0
        [ ! -s "$2" ] || recorded "$2" >/dev/null || return 1
        sleep 0.05
    done
    return 1
}

# ask_world ARGUMENTS...
ask_world() {
    "$(programs)/skein-sim" ctl --socket "$STATE/world.sock" "$@"
}

cmd_ctl() {
    if [[ ${1-} =~ ^(-h|--help)$ ]]; then
        "$(programs)/skein-sim" ctl --help
        return
    fi
    need_up
    ask_world "$@"
}

cmd_skein() {
    [ $# -gt 0 ] || usage "skein wants a host and a command"
    need_host "$1"
    local socket=$STATE/hosts/$1/agent.sock
    shift
    SKEIN_SOCKET=$socket "$(programs)/skein" "$@"
}

cmd_root() {
    echo "$ROOT"
}

cmd_log() {
    [ $# -eq 1 ] || usage "log wants a host, or: world"
    if [ "$1" = world ]; then
        need_up
        tail -n 50 "$STATE/log/world"
    else
        need_host "$1"
        tail -n 50 "$STATE/hosts/$1/agent.log"
    fi
}
