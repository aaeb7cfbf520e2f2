# shellcheck shell=bash disable=SC2153 # PROGRAM is the sourcing script's name
# process.sh - errors, numbers, and processes that are found again: what the scripts of deploy share.

die() {
    echo "$PROGRAM: $*" >&2
    exit 1
}

usage() {
    echo "$PROGRAM: $*; see: $PROGRAM --help" >&2
    exit 2
}

impossible() {
    echo "$PROGRAM: not possible here: $*" >&2
    exit 3
}

# need COUNT OPTION: of COUNT arguments left, the option that is the first has a value.
need() {
    [ "$1" -gt 1 ] || usage "$2 wants a value"
}

is_number() {
    [[ $1 =~ ^(0|[1-9][0-9]{0,8})$ ]]
}

# start_time PID: in clock ticks since boot; a number is used again only with another one of these.
start_time() {
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    stat=${stat##*) }
    # shellcheck disable=SC2086 # the fields of stat
    set -- $stat
    echo "${20}"
}

boot_id() {
    cat /proc/sys/kernel/random/boot_id
}

# record FILE PID: "PID START BOOT", so that the number is never taken for another process's later.
record() {
    echo "$2 $(start_time "$2") $(boot_id)" >"$1"
}

# recorded FILE: the recorded process's number, if that very process still lives.
recorded() {
    local pid start boot
    { read -r pid start boot <"$1"; } 2>/dev/null || return 1
    [ "$boot" = "$(boot_id)" ] && [ "$(start_time "$pid")" = "$start" ] || return 1
    echo "$pid"
}

# wait_gone PID: until it has ended (10 s at most).
wait_gone() {
    local i
    for ((i = 0; i < 500; i++)); do
        [ -e "/proc/$1" ] || return 0
        sleep 0.02
    done
    return 1
}

# stop FILE: ends the process that FILE records, if it lives.
stop() {
    local pid
    if pid=$(recorded "$1"); then
        kill -9 "$pid"
        wait_gone "$pid" || die "process $pid does not end"
    fi
    rm -f "$1"
}

# take_lock FOLDER: held as descriptor 9 until the script ends. A folder that another has just removed is no longer the
# one to lock.
take_lock() {
    while :; do
        mkdir -p "$1"
        exec 9<"$1"
        flock -w 120 9 || die "another command holds $1"
        [ /proc/self/fd/9 -ef "$1" ] && return
    done
}
