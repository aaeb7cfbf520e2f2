# thermal_relief through the command line: what it does, and what it must not do.
. "$(dirname "$0")/lib.sh"
policy=$policies/thermal_relief.lua

make hot "$policy" "$snapshots/hot-host.json"
is hot .state DRAFT
is hot .body.class thermal
is hot '[.body.steps[].actions[] | .from] | unique | join(" ")' hv1
is hot '.body.steps | map(.actions | length) | add' 1
is hot .health.errors 0

edit hot-host inlet '.hosts[].temperature.inlet_celsius = 36'
make inlet "$policy" "$tmp/inlet.snapshot"
is inlet '.body.steps | length' 0
is inlet '[.body.refused[] | select(.code == "HOT_INLET")] | length > 0' true
is inlet '.body.refused | map(.message) | join(" ") | test("moving won.t help")' true

for t in 0 -3 900 null; do
    edit hot-host odd ".hosts[].temperature.cpu_celsius = $t"
    make odd "$policy" "$tmp/odd.snapshot"
    is odd '.body.steps | length' 0
done

# A destination of unknown temperature takes nothing; when no other is left nothing moves.
edit hot-host blind '(.hosts[] | select(.name != "hv1")).temperature = null'
make blind "$policy" "$tmp/blind.snapshot"
is blind '.body.steps | length' 0

# A rising trend counts before the limit is reached.
edit hot-host rising '.hosts[0].temperature |= (.cpu_celsius = 73 | .trend_celsius_per_min = 1)'
make rising "$policy" "$tmp/rising.snapshot"
is rising '.body.steps | length > 0' true
edit hot-host calm '.hosts[0].temperature |= (.cpu_celsius = 73 | .trend_celsius_per_min = 0)'
make calm "$policy" "$tmp/calm.snapshot"
is calm '.body.steps | length' 0

# Warm destinations are not pushed over the limit.
edit hot-host warm '(.hosts[] | select(.name != "hv1")).temperature.cpu_celsius = 69'
make warm "$policy" "$tmp/warm.snapshot"
is warm '.body.steps | length' 0
exit $failed
