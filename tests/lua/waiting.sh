# What waits for its approval is proposed again while it is as good, and given up when it is not.
. "$(dirname "$0")/lib.sh"
policy=$policies/thermal_relief.lua
web1=11111111-1111-4111-8111-111111111111 db1=33333333-3333-4333-8333-333333333333

waiting() { # NAME POLICY MOVES [FILTER]
    edit hot-host "$1" ".decision_state = {waiting: [{policy: \"$2\", moves: $3}]} | ${4:-.}"
    make "$1" "$policy" "$tmp/$1.snapshot" --param relief_margin=6
    "$skein" plan verify --snapshot "$tmp/$1.snapshot" "$tmp/$1.json" >/dev/null || fail "$1: not verified"
}

moves='[.body.steps[].actions[] | .vm + ">" + .to] | join(" ")'
make fresh "$policy" "$snapshots/hot-host.json" --param relief_margin=6
is fresh "$moves" "web1>hv3"

waiting same thermal_relief "[{vm: \"$web1\", to: \"hv2\"}]"
is same "$moves" "web1>hv2"
is same '.body.steps[0].actions[0].reason' "relieve: 57 °C after the move"
waiting other thermal_relief "[{vm: \"$db1\", to: \"hv2\"}]"
is other "$moves" "web1>hv3" # db1 alone would not be enough
waiting whose balance "[{vm: \"$web1\", to: \"hv2\"}]"
is whose "$moves" "web1>hv3"
waiting full thermal_relief "[{vm: \"$web1\", to: \"hv2\"}]" '.hosts[1].temperature.cpu_celsius = 68'
is full "$moves" "web1>hv3"
waiting gone thermal_relief "[{vm: \"$web1\", to: \"hv2\"}]" '.hosts |= map(select(.name != "hv2")) | .vms |= map(select(.host != "hv2"))'
is gone "$moves" "web1>hv3"
waiting moved thermal_relief "[{vm: \"$web1\", to: \"hv1\"}]"
is moved "$moves" "web1>hv3"
waiting calm thermal_relief "[{vm: \"$web1\", to: \"hv2\"}]" '.hosts[0].temperature |= (.cpu_celsius = 50 | .trend_celsius_per_min = 0)'
is calm "$moves" ""
waiting odd thermal_relief '[{vm: 1}, "x", null]'
is odd "$moves" "web1>hv3"
exit $failed
