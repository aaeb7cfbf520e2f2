# The commands' own manners: exit status, one line that names the place.
. "$(dirname "$0")/lib.sh"
hot=$snapshots/hot-host.json thermal=$policies/thermal_relief.lua

# says STATUS PART COMMAND...
says() {
    local want=$1 part=$2 out status
    shift 2
    out=$("$skein" "$@" 2>&1)
    status=$?
    [ $status -eq "$want" ] || fail "skein $*: status $status, wanted $want"
    grep -qF -- "$part" <<<"$out" || fail "skein $*: '$out' lacks '$part'"
}

says 0 "Examples:" plan make --help
says 0 "Examples:" plan verify --help
says 0 "Examples:" policy --help
says 2 "--snapshot is missing" plan make --policy "$thermal"
says 2 "--policy is missing" plan make --snapshot "$hot"
says 2 "unknown option --sead" plan make --sead 1
says 2 "not a time" plan make --snapshot "$hot" --policy "$thermal" --at yesterday
says 2 "--seed" plan make --snapshot "$hot" --policy "$thermal" --seed -1
says 1 "no-such.json" plan make --snapshot "$tmp/no-such.json" --policy "$thermal"
echo '{"schema": "skein.snapshot/1", "hots": []}' >"$tmp/typo.json"
says 1 "did you mean" plan make --snapshot "$tmp/typo.json" --policy "$thermal"
echo '{' >"$tmp/broken.json"
says 1 "snapshot" plan make --snapshot "$tmp/broken.json" --policy "$thermal"
says 0 "thermal_relief" plan make --snapshot "$hot" --policy "$thermal"
says 0 "hv1" plan make --snapshot "$hot" --policy "$thermal" --at 2026-11-22T15:00:00Z --seed 7

printf 'local P = policy { name = "a", api = 1 }\nfunction P.triger(c) end\n' >"$tmp/a.lua"
says 1 "a.lua:2: unknown hook 'triger'; did you mean 'trigger'?" policy check "$tmp/a.lua"
printf 'policy { name = "a", api = 1, clas = "user" }' >"$tmp/a.lua"
says 1 "a.lua:1: unknown field of policy{}: 'clas'; did you mean 'class'?" policy check "$tmp/a.lua"
printf 'policy { name = "a", api = 1, params = { x = { type = "percent", default = 700 } } }' >"$tmp/a.lua"
says 1 "parameter 'x' is 700, allowed is 0 to 100" policy check "$tmp/a.lua"
printf 'local P = policy { name = "a", api = 1 }\nfunction P.trigger(c, x) end\n' >"$tmp/a.lua"
says 1 "a.lua:2: hook 'trigger' has 2 parameters" policy check "$tmp/a.lua"
printf 'local P = policy { name = "a", api = 1 }\nfunction P.trigger(c) return c.hots end\nfunction P.score(c, v, h) return 1 end' >"$tmp/a.lua"
says 0 "a.lua: ok" policy check "$tmp/a.lua"
says 1 "a.lua:2: a context has no field 'hots'; did you mean 'hosts'?" \
    plan make --snapshot "$hot" --policy "$tmp/a.lua"
cp "$tmp/a.lua" "$tmp/b.lua"
says 1 "its name \"a\" is that of" policy check "$tmp/a.lua" "$tmp/b.lua"
says 0 "thermal" policy check "$thermal"

sed 's/default = 75/default = 85/; s/default = 8,/default = 0,/' "$thermal" >"$tmp/milder.lua"
says 0 "- web2  hv1 -> hv3" policy diff --snapshot "$hot" "$thermal" "$tmp/milder.lua"
says 0 "  web2  hv1 -> hv3" policy diff --snapshot "$hot" "$thermal" "$thermal"
says 0 "plan     1 actions in 1 steps" policy eval --snapshot "$hot" "$thermal"
says 0 "hook     trigger    asked 1 times" policy eval --snapshot "$hot" --policy "$thermal"
says 0 '"actions":1' policy eval --snapshot "$hot" "$thermal" -o json
says 2 "one policy" policy eval --snapshot "$hot"
says 2 "two policies" policy diff --snapshot "$hot" "$thermal"
says 0 "web1 -> hv2  score" policy explain --snapshot "$hot" "$thermal" web1 hv2
says 1 'no VM "web9"' policy explain --snapshot "$hot" "$thermal" web9
says 1 "parameter 'limit' is 500" plan make --snapshot "$hot" --policy "$thermal" --param limit=500
says 1 "unknown parameter 'limt'; did you mean 'limit'?" plan make --snapshot "$hot" --policy "$thermal" --param limt=70
says 1 "a_test.lua" policy test "$tmp/a.lua"

# A filter that fails refuses its pair only, and the plan's envelope says so.
cat >"$tmp/f.lua" <<'LUA'
local P = policy { name = "f", api = 1, goal = "drain", class = "drain" }
function P.trigger(c) return true, "always" end
function P.sources(c) return c:host("hv1") end
function P.filter(c, vm, host)
    if host.name == "hv2" then error("broken") end
end
return P
LUA
make partly "$tmp/f.lua" "$hot"
is partly '.health.hooks.filter.errors > 0' true
is partly '.health.hooks.filter.last_error | test("f.lua:5: broken")' true
is partly '[.body.steps[].actions[].to] | unique | join(" ")' hv3

# A filter that only the states of a plan's steps offend: the offending move is left out, and says why.
cat >"$tmp/g.lua" <<'LUA'
local P = policy { name = "g", api = 1, goal = "drain", class = "drain" }
function P.trigger(c) return true, "always" end
function P.sources(c) return c:host("hv1") end
function P.filter(c, vm, host)
    if #host.vms >= 3 then return reject("FULL", "%s has %d", host.name, #host.vms) end
end
return P
LUA
make states "$tmp/g.lua" "$snapshots/uneven.json"
is states '[.body.steps[].actions[].to] | group_by(.) | map(length) | max' 1
is states '.body.refused | map(.code) | unique | join(" ")' FULL
"$skein" plan verify --snapshot "$snapshots/uneven.json" "$tmp/states.json" >/dev/null || fail "states: not verified"

# What finds no host: the policy's words and its fallback; what it expects of the plan.
cat >"$tmp/u.lua" <<'LUA'
local P = policy { name = "u", api = 1, goal = "drain", class = "drain" }
function P.trigger(c) return true, "always" end
function P.sources(c) return c:host("hv1") end
function P.filter(c, vm, host)
    if vm.name ~= "web1" then return reject("NO", "not there") end
end
function P.unplaceable(c, vm, why)
    if why.code == "" then error("no code") end
    if vm.name == "web2" then return shutdown("nobody needs it at night") end
    return reject("STUCK", "%s stays: %s", vm.name, why.code)
end
function P.verify(c, plan, before, after)
    return { left = #before:host("hv1").vms - #after:host("hv1").vms, moves = #plan.moves }
end
return P
LUA
make stuck "$tmp/u.lua" "$hot"
is stuck '[.body.refused[] | select(.vm == "web2" and .host == null) | .relax.fallback] | first' shutdown
is stuck '[.body.refused[] | select(.vm == "web2" and .host == null) | .relax.text] | first | test("nobody needs it")' true
is stuck '[.body.refused[] | select(.vm != "web2" and .host == null) | .code] | unique | join(" ")' STUCK
is stuck '.notes.verify | "\(.left) \(.moves)"' "1 1"
is stuck '.health.errors' 0

# What a drain orders of VMs that find no host is done behind all moves, and the checker lets only a drain do it.
edit hot-host drained '(.hosts[] | select(.name == "hv1")) |= (.state = "draining" | .drain_fallback = "shutdown")'
cat >"$tmp/w.lua" <<'LUA'
local P = policy { name = "w", api = 1, goal = "drain", class = "drain" }
function P.trigger(c) return true, "always" end
function P.sources(c) return c:host("hv1") end
function P.filter(c, vm, host)
    if vm.name == "web2" then return reject("NO", "not there") end
end
return P
LUA
make stops "$tmp/w.lua" "$tmp/drained.snapshot"
is stops '[.body.steps[-1].actions[] | "\(.type) \(.vm) \(.from) \(.to)"] | join(", ")' "shutdown web2 hv1 hv1"
is stops '[.body.steps[:-1][].actions[] | select(.type != "migrate")] | length' 0
is stops '[.body.refused[] | select(.vm == "web2" and .host == null) | .relax.fallback] | first' shutdown
"$skein" plan verify --snapshot "$tmp/drained.snapshot" "$tmp/stops.json" >/dev/null || fail "stops: not verified"
jq '.body.class = "optimise"' "$tmp/stops.json" >"$tmp/stops2.json"
"$skein" plan verify --snapshot "$tmp/drained.snapshot" "$tmp/stops2.json" >"$tmp/verdict" 2>&1 && fail "stops: no drain, but verified"
grep -q "no drain of hv1 orders" "$tmp/verdict" || fail "stops: $(cat "$tmp/verdict")"
edit hot-host waits '(.hosts[] | select(.name == "hv1")) |= (.state = "draining" | .drain_fallback = "wait")'
make waits "$tmp/w.lua" "$tmp/waits.snapshot"
is waits '[.body.steps[].actions[] | select(.type != "migrate")] | length' 0
edit hot-host unsure '(.hosts[] | select(.name == "hv1")) |= (.state = "draining" | .drain_fallback = "suspend") |
    .vms |= map(if .name == "web2" then del(.memory_mib) else . end)'
make unsure "$tmp/w.lua" "$tmp/unsure.snapshot"
is unsure '[.body.refused[] | select(.vm == "web2" and .host == null) | .code] | first' UNKNOWN_VM_SIZE
is unsure '[.body.steps[].actions[] | select(.type != "migrate")] | length' 0

# A VM that moved several times today rests longer each time; six hours at most.
edit hot-host tired '.taken_at as $now | .vms[0].last_move = ($now | fromdate - 5400 | todate) | .vms[0].moves_24h = 1'
edit hot-host wearier '.taken_at as $now | .vms[0].last_move = ($now | fromdate - 5400 | todate) | .vms[0].moves_24h = 3'
cat >"$tmp/c.lua" <<'LUA'
local P = policy { name = "c", api = 1, goal = "drain", cooldown = "1h" }
function P.trigger(c) return true end
function P.sources(c) return c:host("hv1") end
function P.score() return 1 end
return P
LUA
make tired "$tmp/c.lua" "$tmp/tired.snapshot"
make wearier "$tmp/c.lua" "$tmp/wearier.snapshot"
name=$(jq -r '.vms[0].name' "$hot")
is tired "[.body.refused[] | select(.vm == \"$name\" and .code == \"COOLDOWN\")] | length" 0
is wearier "[.body.refused[] | select(.vm == \"$name\" and .code == \"COOLDOWN\")] | length" 1

# Where many hosts say what cannot be, what only improves waits; a drain goes on.
edit hot-host absurd '.hosts |= map(if .name != "hv1" then .memory.used_mib = .memory.total_mib * 2 else . end)'
make absurd "$tmp/c.lua" "$tmp/absurd.snapshot"
is absurd '.body.reason | test("cannot be true")' true
is absurd '.body.steps | length' 0
make drained "$tmp/f.lua" "$tmp/absurd.snapshot"
is drained '.body.reason | test("cannot be true")' false
exit $failed
