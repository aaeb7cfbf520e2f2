#!/usr/bin/env bash
# quickstart --sim as an ordinary user: heat, a night, a drain and a planner's death; twice in a row in the long form,
# and nothing is left, also after an interruption.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/sim.sh"
export SKEIN_SIM=quickstart
at_exit sim down

quickstart() { as_user "$REPO/deploy/quickstart" --sim "$@"; }
nothing_left() { [ ! -e "$SIM_FOLDER/clusters" ] && exits 1 pgrep -u "$(unprivileged id -u)" -f "$SIM_FOLDER"; }

rounds=1
[ "${SKEIN_TEST_FORM-}" != nightly ] || rounds=2
check "wrong usage is told" exits 2 quickstart --hosts 2
for ((round = 1; round <= rounds; round++)); do
    check "round $round" quickstart --hosts 8
    check "round $round: all guests run" eval '[ "$(world | jq "[.guests[] | select(.running == 1)] | length")" = 80 ]'
done

# once more over what still stands, and interrupted while agents start or work
interrupted() {
    local pid
    set -m
    quickstart --hosts 6 >"$WORK/out" 2>&1 &
    pid=$!
    set +m
    wait_until 60 grep -q "a real agent for each host" "$WORK/out"
    sleep 2
    kill -INT -- "-$pid"
    wait "$pid" || [ $? = 130 ]
    cat "$WORK/out"
}
check "interrupted" interrupted
check "nothing is left then" wait_until 10 nothing_left
check "down when nothing is up" quickstart --down
