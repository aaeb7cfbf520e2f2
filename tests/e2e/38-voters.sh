#!/usr/bin/env bash
# Who votes and who plans, on simulated hosts: a planner that is drained or stopped hands over before it is missed; a voter
# that is gone for good is replaced, and so is one that has lost its store, by itself. What was agreed on stays.
# shellcheck disable=SC2046 # `as` prints several words on purpose
set -eu
# shellcheck source=tests/e2e/lib/lib.sh
. "$(dirname "$0")/lib/lib.sh"
# shellcheck source=tests/e2e/lib/sim.sh
. "$(dirname "$0")/lib/sim.sh"

check "a cluster comes up" sim_of_own --hosts 5 --guests 10 --voters 3 --replace-after 4
EYE=hv5 PEOPLE=$SIM_FOLDER/clusters/test/people # hv1, hv2 and hv4 vote
STATE=$SIM_FOLDER/clusters/test

yielded() { sim log "$1" | has "planner.yielded.*$2"; } # HOST WHY
voters() { skein status -o json | jq -r '[.voters[].host] | join(" ")'; }
voters_are() { [ "$(voters)" = "$1" ]; }
state_is() { skein hosts -o json | jq -e --arg h "$1" --arg s "$2" '.hosts[] | select(.name == $h) | .state == $s'; }

# ---- handed over
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
sim agent start "$second"
check "the drain is taken back" wait_until 20 skein restore "$first" $(as operator)

# ---- gone for good
check "something is ordered" skein cordon hv5 $(as operator)
planner=$(planner_now)
lost=hv1
[ "$planner" != hv1 ] || lost=hv2
[ "$lost" = hv1 ] && now="hv2 hv3 hv4" || now="hv1 hv3 hv4"
check "$lost is killed" sim agent kill "$lost"
check "hv3 votes in its place" wait_until 60 voters_are "$now"
check "a planner is known" wait_until 20 planner_known
check "the audit says so" eval 'EYE=hv3 skein audit list --limit 1000 -o json | jq -se "flatten | map(.. | objects | select(.event? == \"voter.removed\")) | length > 0"'
check "what was agreed on is still there" state_is hv5 cordoned
guest=$(world | jq -r '[.guests[] | select(.host == "hv4")][0].name')
check "a move is asked for" skein migrate "$guest" hv3 $(as operator)
check "planned" wait_until 20 plan_waits user
plan=$(cat "$WORK/plan")
check "and approved" skein plan approve "$plan" --yes $(as approver)
check "it passes the gate: $guest is on hv3" wait_until 40 guest_on "$guest" hv3

# ---- a store that is lost
rm -rf "$STATE/hosts/$lost/state"
check "$lost comes back with nothing" sim agent start "$lost"
says() { [ "$(EYE=$1 voters)" = "$now" ]; }
check "and learns who votes" wait_until 30 says "$lost"
member=hv4
[ "$(planner_now)" != hv4 ] || member=hv3
sim agent kill "$member"
rm -rf "$STATE/hosts/$member/state"
check "a voter, $member, comes back with nothing" sim agent start "$member"
votes_again() { sim log "$member" | has 'voter.added.*"it has lost its store"'; }
check "it votes again, with its new store" wait_until 60 votes_again
check "the voters are the same hosts" wait_until 20 voters_are "$now"
check "a planner is known" wait_until 20 planner_known
check "what was agreed on is still there" state_is hv5 cordoned
