# shellcheck shell=bash
# tell.sh - how both forms of the quickstart talk to people.

bold() { if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi; }
step=0
part() {
    step=$((step + 1))
    bold "[$step] $*  (${SECONDS} s)"
}
tell() { printf '    %s\n' "$*"; }
indent() { sed 's/^/    /'; }

# wait_for SECONDS WHAT CMD...: true as soon as CMD is; says what it waits for.
wait_for() {
    local limit=$((SECONDS + $1)) what=$2
    shift 2
    while ! "$@" >/dev/null 2>&1; do
        ((SECONDS < limit)) || return 1
        sleep 0.5
    done
    tell "$what"
}
