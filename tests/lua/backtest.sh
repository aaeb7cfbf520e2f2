# skein policy backtest: a recorded hour and a small PlanetLab day, lived through again.
. "$(dirname "$0")/lib.sh"
mkdir "$tmp/hour" "$tmp/20110303" "$tmp/empty"

# Twelve samples of a host that becomes busy, hot with it, beside two that stay cool.
for i in $(seq 0 11); do
    jq --argjson i "$i" '.taken_at = (1763773200 + 300 * $i | todate)
        | .vms |= map(.cpu_used_cores = (if .host == "hv1" then 1 + $i / 4 else 0.2 end))' \
        "$snapshots/hot-host.json" >"$tmp/hour/$(printf %02d "$i").json" || fail "sample $i"
done

backtest() { # NAME OPTION...
    local name=$1
    shift
    "$skein" policy backtest "$@" -o json >"$tmp/$name.json" || fail "$name: backtest"
}

backtest one "$policies/thermal_relief.lua" --trace "$tmp/hour" --svg "$tmp/one.svg"
backtest two "$policies/thermal_relief.lua" --trace "$tmp/hour"
[ "$(jq -S 'del(.cpu_seconds)' "$tmp/one.json")" = "$(jq -S 'del(.cpu_seconds)' "$tmp/two.json")" ] ||
    fail "two runs differ"
is one .policy_errors 0
is one '.migrations > 0' true
is one .no_moves.migrations 0
is one .pingpongs 0
is one '[.day, .hosts] | @text' "[\"hour\",$(jq '.hosts | length' "$snapshots/hot-host.json")]"
grep -q '</svg>' "$tmp/one.svg" || fail "no picture"

# Eight VMs at a steady 20 %: packing them saves hosts and energy, and no VM goes without.
for vm in 1 2 3 4 5 6 7 8; do
    for _ in $(seq 288); do echo 20; done >"$tmp/20110303/vm$vm"
done
cat >"$tmp/pack.lua" <<'LUA'
local P = policy { name = "pack", api = 1, goal = "consolidate", class = "optimise",
                   params = { fill = { type = "percent", default = 70 } } }
function P.trigger() return true, "always" end
function P.filter(c, vm, host)
    local util = host:after(vm).cpu.util
    if util and util > c.params.fill then return reject("FULL", "%s is full", host.name) end
end
return P
LUA
backtest packed "$tmp/pack.lua" --trace "$tmp/20110303" --format planetlab
is packed '.kwh < .no_moves.kwh / 1.5' true
is packed '.unmet_pct < 0.1' true
is packed '.pingpongs' 0

says() { # STATUS PART COMMAND...
    local want=$1 part=$2 out status
    shift 2
    out=$("$skein" policy backtest "$@" 2>&1)
    status=$?
    [ $status -eq "$want" ] || fail "backtest $*: status $status, wanted $want"
    grep -qF -- "$part" <<<"$out" || fail "backtest $*: '$out' lacks '$part'"
}
says 0 "Examples:" --help
says 2 "--trace is missing" "$tmp/pack.lua"
says 2 "it wants one policy" --trace "$tmp/hour"
says 2 "there is recorded and planetlab" "$tmp/pack.lua" --trace "$tmp/hour" --format csv
says 1 "no file NAME.json in it" "$tmp/pack.lua" --trace "$tmp/empty"
says 1 "nowhere" "$tmp/pack.lua" --trace "$tmp/nowhere"
echo "5 five" >"$tmp/20110303/vm9"
says 1 "vm9: number 2 of 288" "$tmp/pack.lua" --trace "$tmp/20110303" --format planetlab
echo 'syntax error' >"$tmp/bad.lua"
says 1 "bad.lua:1" "$tmp/bad.lua" --trace "$tmp/hour"
exit $failed
