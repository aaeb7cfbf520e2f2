# What the shipped policies promise, over simulated days: a few of them, a month nightly.
set -eu
longrun=$1 policies=$2 days=5 spots=25 nights=2
if [ "${SKEIN_TEST_FORM-}" = nightly ]; then days=30 spots=100 nights=14; fi
status=0
"$longrun" balance "$policies/balance.lua" $days || status=1
"$longrun" thermal "$policies/thermal_relief.lua" $spots || status=1
"$longrun" night "$policies/night_consolidation.lua" $nights || status=1
"$longrun" week "$policies/night_consolidation.lua" $nights || status=1
exit $status
