#!/usr/bin/env bash
# The planner's host is drained, its agent stopped: each time it asks another voter to plan, before it is missed.
# shellcheck disable=SC2046 # `as` prints several words on purpose
set -eu
# shellcheck source=tests/e2e/lib/lib.sh
. "$(dirname "$0")/lib/lib.sh"
# shellcheck source=tests/e2e/lib/sim.sh
. "$(dirname "$0")/lib/sim.sh"

check "a cluster comes up" sim_of_own --hosts 4 --guests 8
EYE=hv4 PEOPLE=$SIM_FOLDER/clusters/test/people

yielded() { sim log "$1" | has "planner.yielded.*$2"; } # HOST WHY

first=$(planner_now)
check "$first plans, and is drained" skein drain "$first" $(as operator)
check "another one plans" wait_until 20 planner_other_than "$first"
check "as it was asked to" yielded "$first" "this host is being emptied"
second=""
until [ -n "$second" ] && [ "$second" != "$first" ]; do
    second=$(planner_now)
done
note "$second plans"
check "its agent is stopped" sim agent stop "$second"
check "another one plans" wait_until 20 planner_other_than "$second"
check "as it was asked to, too" yielded "$second" "its agent is told to stop"
check "not the one that is drained" [ "$(planner_now)" != "$first" ]
