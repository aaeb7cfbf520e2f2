#!/usr/bin/env bash
# Real agents on simulated hosts, without privilege: moves that end otherwise than they say, hosts that hang, vanish or
# are full, agents and planners that are killed. Each plan comes to one definite end, and no guest is doubled or lost.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/sim.sh"

check "a cluster comes up" sim_of_own --hosts 6 --guests 30 --seed 3 --speed 20 --policies thermal_relief --evaluate 1
EYE=hv6 PEOPLE=$SIM_FOLDER/clusters/test/people
check "as an ordinary user" [ "$(stat -c %u "$SIM_FOLDER")" = "$(unprivileged id -u)" ]
check "all guests are known" wait_until 60 guests_known 30
check "the world's time is told" eval 'skein status | grep "20 times as fast"'
check "a snapshot is of the world's time" eval '[ "$(skein status -o json | jq .world.speed)" = 20 ]'

# A guest that is small and calm, and where it is.
mapfile -t calm < <(world | jq -r '[.guests[] | select(.name | startswith("web"))] | .[].name')
other_host() { # NOT...: the first host that is none of these, nor ours or the planner's
    local host
    for host in hv5 hv4 hv3 hv2 hv1; do
        [[ " $* $(planner_now) " == *" $host "* ]] || { echo "$host" && return; }
    done
}

# asked GUEST TO: an approved plan for this one move; sets plan
asked() {
    # shellcheck disable=SC2046
    skein migrate "$1" "$2" $(as operator)
    wait_until 20 plan_waits user
    plan=$(cat "$WORK/plan")
    # shellcheck disable=SC2046
    skein plan approve "$plan" --yes $(as approver)
}

# story NUMBER: sets guest, from and to
story() {
    guest=${calm[$1]}
    from=$(guest_host "$guest")
    to=$(other_host "$from")
    note "$guest on $from, to $to"
}

# ---- what the hypervisor says is not what is true
for story in "0 none SUCCEEDED" "1 error-after-success SUCCEEDED" "2 leftover SUCCEEDED" "3 fail -" "4 success-without-move -"; do
    read -r number fate ends <<<"$story"
    story "$number"
    sim ctl fate "$guest" "$fate"
    asked "$guest" "$to" >"$WORK/asked" 2>&1 || cat "$WORK/asked"
    check "$fate: the plan ends" wait_until 60 plan_ended "$plan"
    [ "$ends" = - ] || check "$fate: as $ends" plan_is "$plan" "$ends"
    [ "$ends" = - ] || check "$fate: the guest is on $to only" wait_until 20 guest_on "$guest" "$to"
    check "$fate: nothing is doubled or lost" all_guests_well
done

# ---- stuck until somebody cancels
story 0
sim ctl fate "$guest" stuck
asked "$guest" "$to" >"$WORK/asked" 2>&1 || cat "$WORK/asked"
check "stuck: it is under way" wait_until 20 guest_moves "$guest"
# shellcheck disable=SC2046
check "stuck: cancelled" skein plan cancel "$plan" --yes $(as operator)
check "stuck: the plan ends" wait_until 60 plan_ended "$plan"
check "stuck: the guest stayed" wait_until 10 guest_on "$guest" "$from"

# ---- a destination that can take nothing
story 1
sim ctl disk-full "$to" on
asked "$guest" "$to" >"$WORK/asked" 2>&1 || cat "$WORK/asked"
check "full: the plan ends" wait_until 60 plan_ended "$plan"
check "full: the guest stayed" wait_until 10 guest_on "$guest" "$from"
sim ctl disk-full "$to" off

# ---- changes are not told
story 2
sim ctl lose-events "$from" on
sim ctl lose-events "$to" on
asked "$guest" "$to" >"$WORK/asked" 2>&1 || cat "$WORK/asked"
check "lost events: the plan ends" wait_until 60 plan_ended "$plan"
check "lost events: it succeeded" plan_is "$plan" SUCCEEDED
check "lost events: the guest is on $to only" wait_until 10 guest_on "$guest" "$to"
sim ctl lose-events "$from" off
sim ctl lose-events "$to" off

# ---- agents and hypervisors die and hang in the middle; the slow world gives time to meet it
sim ctl speed 1
story 3
asked "$guest" "$to" >"$WORK/asked" 2>&1 || cat "$WORK/asked"
check "killed agents: the move is under way" wait_until 20 guest_moves "$guest"
sim agent kill "$from" "$to"
sim agent start "$from" "$to"
sim ctl speed 20
check "killed agents: the plan ends" wait_until 90 plan_ended "$plan"
check "killed agents: it succeeded" plan_is "$plan" SUCCEEDED
check "killed agents: the guest is on $to only" wait_until 10 guest_on "$guest" "$to"

sim ctl speed 1
story 4
asked "$guest" "$to" >"$WORK/asked" 2>&1 || cat "$WORK/asked"
check "hanging: the move is under way" wait_until 20 guest_moves "$guest"
sim ctl hang "$from" on
sleep 3
sim ctl hang "$from" off
sim ctl speed 20
check "hanging: the plan ends" wait_until 90 plan_ended "$plan"
check "hanging: the guest runs once" all_guests_well

sim ctl speed 1
story 5
asked "$guest" "$to" >"$WORK/asked" 2>&1 || cat "$WORK/asked"
check "the planner: the move is under way" wait_until 20 guest_moves "$guest"
planner=$(planner_now)
sim agent kill "$planner"
check "the planner: another takes over" wait_until 20 planner_other_than "$planner"
sim ctl speed 20
check "the planner: the plan ends" wait_until 90 plan_ended "$plan"
check "the planner: it succeeded" plan_is "$plan" SUCCEEDED
sim agent start "$planner"
check "the planner: nothing is doubled or lost" all_guests_well

# ---- a destination vanishes without a word
sim ctl speed 1
story 6
asked "$guest" "$to" >"$WORK/asked" 2>&1 || cat "$WORK/asked"
check "vanished: the move is under way" wait_until 20 guest_moves "$guest"
there=$(world | jq --arg h "$to" '[.guests[] | select(.host == $h)] | length')
sim power "$to" off --silent
sim ctl speed 20
check "vanished: the guest runs where it was" wait_until 30 guest_on "$guest" "$from"
check "vanished: only what ran on $to is gone" eval \
    "[ \$(world | jq '[.guests[] | select(.running == 0)] | length') = $there ]"
sim power "$to" on
check "vanished: the plan ends" wait_until 120 plan_ended "$plan"
# Home, or there after all: an attempt that failed on the way is made again once the host is back.
check "vanished: the guest runs once" eval \
    "world | jq -e --arg g '$guest' '[.guests[] | select(.name == \$g) | .running] == [1]' >/dev/null"
check "vanished: the others boot with their host" wait_until 60 guests_known 30

# ---- the end
check "it ends" sim down
check "and leaves nothing" [ ! -e "$SIM_FOLDER/clusters" ]
