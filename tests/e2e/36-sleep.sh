#!/usr/bin/env bash
# Hosts that sleep, on simulated ones: a drill proves that one wakes, the night's policy puts it on standby under its
# standing order, and wakes it before the day. Nobody takes it for dead meanwhile.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/sim.sh"

# What a host's agent runs is the simulator's own switch; the agent of a host that sleeps stands still.
cat >"$SIM_FOLDER/power" <<END
#!/bin/sh
exec "$REPO/deploy/sim" power "\$2" "\$1"
END
cat >"$SIM_FOLDER/power.conf" <<END
power = { driver = "command"; command = "$SIM_FOLDER/power"; };
END
chmod 755 "$SIM_FOLDER/power"
chmod 644 "$SIM_FOLDER/power.conf"
check "a cluster comes up" sim_of_own --hosts 4 --guests 5 --seed 13 --speed 60 --at 2026-11-22T19:00:00Z --evaluate 1 \
    --policies night_consolidation --agent-config "$SIM_FOLDER/power.conf"
check "all guests are known" wait_until 60 guests_known 5

sleeper=$(comm -23 <(hosts_named | sort) <(skein status -o json | jq -r '.voters[].host' | sort) | sed -n 1p)
power_is() { [ "$(world | jq -r --arg h "$sleeper" '.hosts[] | select(.name == $h) | .power')" = "$1" ]; }
state_is() { [ "$(EYE=$eye skein hosts -o json | jq -r --arg h "$sleeper" '.hosts[] | select(.name == $h) | .state')" = "$1" ]; }
eye=$(hosts_named | grep -vx "$sleeper" | sed -n 1p)
echo "$eye" >"$WORK/eye" # the sleeper's own agent does not answer
for guest in $(world | jq -r --arg h "$sleeper" '.guests[] | select(.host == $h) | .name'); do
    note "$guest runs on $sleeper"
done

none_can_wake() { skein hosts -o json | jq -e '(.hosts | length) == 4 and all(.hosts[]; .power.can_wake != true)'; }
check "nobody is put to sleep who never woke" none_can_wake
# shellcheck disable=SC2046
check "a drill is asked for" eval 'skein drill $(as operator) "$sleeper" >"$WORK/drill"'
drill=$(cat "$WORK/drill")
# shellcheck disable=SC2046
check "and approved" skein plan approve --yes $(as approver) "$drill"
check "$sleeper sleeps" wait_until 30 power_is standby
check "and wakes" wait_until 60 plan_is "$drill" SUCCEEDED
check "it is on" power_is on

# A version of the policy, whose night began long ago, and its order.
night() { # SED-EXPRESSION
    local file=$SIM_FOLDER/night_consolidation.lua
    sed -e '/n_plus = {/s/default = 1/default = 0/' \
        -e 's/from = "22:00"/from = "18:00"/' -e "$1" "$REPO/policies/night_consolidation.lua" >"$file"
    chmod 644 "$file"
    # shellcheck disable=SC2046
    skein policy promote $(as admin) "$file"
    # shellcheck disable=SC2046
    skein order add --policy-file "$file" --moves-per-hour 200 --classes optimise $(as admin)
}
check "the night's policy is given, and its order" night ''
check "the night puts it on standby" wait_until 90 power_is standby
check "which everybody knows" wait_until 30 state_is standby
check "the night is declared to end soon" night '/wake_before = {/s/default = "45m"/default = "6h"/; s/to = "05:30"/to = "01:00"/'
check "it wakes for the day" wait_until 90 power_is on
check "and is there again" wait_until 60 state_is up
check "nobody took it for dead" lacks "member $sleeper is dead" "$SIM_FOLDER"/clusters/*/hosts/*/agent.log
check "nothing is doubled or lost" all_guests_well
