#!/usr/bin/env bash
# Nobody at the keyboard: a hot host is relieved under a standing order, within its budget; and without one, nothing moves.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/lab.sh"
. "$(dirname "$0")/lib/mesh.sh"

POLICY=$REPO/policies/thermal_relief.lua
agents_of_own 3
for i in 1 2 3; do
    lab guest add "busy$i" --host hv1 --memory 64 --dirty 4 --wset 8
done
check "all agents see the guests" wait_until 30 eval 'guests_seen 3 hv1 && guests_seen 3 hv2'

order() { # ARGUMENTS... AS
    local who=${*: -1}
    # shellcheck disable=SC2046
    skein_on hv2 order add --policy-file "$POLICY" "${@:1:$#-1}" $(as "$who")
}
# The order's envelope is small; its source is read inside the host, which sees the repository.
check "an approver gives no standing order" eval 'fails order --moves-per-hour 1 approver'
check "a misspelt window is refused" eval 'fails order --moves-per-hour 1 --windows nonsense admin'
lab heat --model on --tau 2
lab heat hv1 x2.5
check "the planner proposes a relief" wait_until 40 plan_waits hv1
sleep 5
check "without a standing order it waits" plan_waits hv1
check "an admin gives one: one move an hour" eval 'order --moves-per-hour 1 admin >"$WORK/order"'
check "it is listed" prints thermal_relief skein_on hv3 order list
relieved() { [ -n "$(plans_in SUCCEEDED hv1)$(plans_in PARTIAL hv1)" ]; }
check "a plan is carried out with nobody at the keyboard" wait_until 60 relieved
check "the audit says by which order" eval 'audited hv1 plan.approved_by_order || audited hv2 plan.approved_by_order || audited hv3 plan.approved_by_order'
check "no sanitizer complains" sanitizer_is_silent
