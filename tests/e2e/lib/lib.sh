# shellcheck shell=bash disable=SC2034 # variables for the tests
# lib.sh - what end-to-end tests share. A test is a bash script with `set -eu` that sources this:
#
#   check NAME CMD...       one result: "ok 1 - NAME", or "not ok" with what CMD printed; the test goes on
#   fails CMD...            true when CMD fails (and false when it is killed or cannot be run)
#   exits STATUS CMD...     true when it ends with that status
#   prints TEXT CMD...      true when CMD succeeds and prints TEXT somewhere
#   CMD... | has REGEX      true when a line is so; the whole is read: who stops early ends its CMD by SIGPIPE, and a
#                           pipe whose part failed has failed (pipefail)
#   lacks REGEX FILE...     true when no line of these files is so; a file that is missing or empty proves nothing
#   wait_until SECONDS CMD...   true as soon as CMD is; three times as long is waited, for the sake of shared machines
#   within SECONDS CMD...       the same for what is promised: not a second longer
#   at_exit CMD...          done when the test ends, however it ends; last come, first done
#   note TEXT               a line of diagnostics
#
# The plan ("1..N") comes last; the exit status is 1 when a check failed or the script broke off.
set -euo pipefail

E2E=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
REPO=$(cd "$E2E/../.." && pwd)
lab() { "$REPO/deploy/lab" "$@"; }

_checks=0 _failed=0 _cleanups=()
WORK=$(mktemp -d)
at_exit() { _cleanups=("$(printf '%q ' "$@")" "${_cleanups[@]}"); }

note() { printf '# %s\n' "$@"; }

# Sets `status` to that of the command, which runs in a subshell and under `set -e`, also inside functions: that is
# lost in `if`, `!`, `&&` and `||`, so never run a check's command in one of those.
_run() {
    set +e
    (
        set -e
        "$@"
    )
    status=$?
    set -e
}

check() {
    local name=$1 status
    shift
    _checks=$((_checks + 1))
    _run "$@" >"$WORK/.output" 2>&1 </dev/null
    if ((status == 0)); then
        echo "ok $_checks - $name"
    else
        echo "not ok $_checks - $name"
        _failed=$((_failed + 1))
        sed 's/^/# /' "$WORK/.output"
    fi
}

fails() {
    local status
    _run "$@"
    ((status > 0 && status < 126))
}

# exits STATUS CMD...
exits() {
    local status want=$1
    shift
    _run "$@"
    [ "$status" = "$want" ] || { echo "exit status $status, not $want" && return 1; }
}

prints() {
    local text=$1 status
    shift
    _run "$@" >"$WORK/.printed" 2>&1
    cat "$WORK/.printed"
    ((status == 0)) && grep -qF -- "$text" "$WORK/.printed"
}

has() {
    local text
    text=$(cat)
    grep -q "$@" <<<"$text"
}

lacks() {
    local regex=$1 file
    shift
    for file in "$@"; do
        [ -s "$file" ] || { echo "$file: nothing is in it" && return 1; }
    done
    exits 1 grep -HE -- "$regex" "$@"
}

wait_until() { within $(($1 * 3)) "${@:2}"; }

# The command may print what it likes: only the last attempt's words are shown.
within() {
    local end=$((SECONDS + $1)) status
    shift
    while :; do
        _run "$@" >"$WORK/.waited" 2>&1
        ((status != 0)) || return 0
        ((SECONDS < end)) || break
        sleep 0.2
    done
    cat "$WORK/.waited"
    return 1
}

# Where the script breaks off: the last command that failed.
_broke=
set -E
trap '[ "${FUNCNAME[0]-}" = _run ] || _broke="line $LINENO: $BASH_COMMAND"' ERR

_finish() {
    local status=$? command
    trap - EXIT ERR
    set +e
    for command in "${_cleanups[@]}"; do
        eval "$command" || note "at the end failed: $command"
    done
    rm -rf "$WORK"
    if ((status != 0)); then
        echo "Bail out! the script broke off with status $status${_broke:+ at $_broke}"
        exit 1
    fi
    echo "1..$_checks"
    ((_failed == 0)) || exit 1
    exit 0
}
trap _finish EXIT
trap 'exit 130' INT TERM
