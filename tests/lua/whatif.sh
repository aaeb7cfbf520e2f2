# plan make without a policy and with what-ifs, plan fit, plan explain: all from files.
. "$(dirname "$0")/lib.sh"

cat >"$tmp/s.json" <<'JSON'
{"schema": "skein.snapshot/1", "cluster": "t", "taken_at": "2026-11-22T01:30:00Z", "seed": 1,
 "hosts": [
  {"name": "h1", "state": "up", "failure_domain": "dc/r1", "cpu": {"cores": 16}, "memory": {"total_mib": 32768}},
  {"name": "h2", "state": "up", "failure_domain": "dc/r1", "cpu": {"cores": 16}, "memory": {"total_mib": 32768}},
  {"name": "h3", "state": "up", "failure_domain": "dc/r2", "cpu": {"cores": 16}, "memory": {"total_mib": 16384}}],
 "vms": [
  {"name": "a", "host": "h1", "state": "running", "vcpus": 2, "memory_mib": 8192},
  {"name": "b", "host": "h1", "state": "running", "vcpus": 2, "memory_mib": 8192},
  {"name": "c", "host": "h2", "state": "running", "vcpus": 2, "memory_mib": 8192,
   "hold_until": "2026-11-23T00:00:00Z"}],
 "rules": [{"name": "apart", "type": "anti-affinity", "vms": ["a", "c"]}]}
JSON
cat >"$tmp/h4.json" <<'JSON'
{"name": "h4", "state": "up", "failure_domain": "dc/r3", "cpu": {"cores": 16}, "memory": {"total_mib": 32768}}
JSON

# plan WANTED-FILTER ARGUMENT...: the plan's JSON fits the jq filter, and is safe by the checker.
plan() {
    local filter=$1
    shift
    "$skein" plan make --snapshot "$tmp/s.json" "$@" -o json >"$tmp/p.json" || fail "plan make $*"
    jq -e "$filter" "$tmp/p.json" >/dev/null || fail "plan make $*: $(cat "$tmp/p.json") is not $filter"
}
safe() { "$skein" plan verify --snapshot "$tmp/s.json" "$@" "$tmp/p.json" >/dev/null || fail "plan verify $*"; }
refuses() {
    local part=$1 out
    shift
    out=$("$skein" "$@" 2>&1) && fail "skein $* succeeded"
    grep -qF -- "$part" <<<"$out" || fail "skein $*: '$out' lacks '$part'"
}

plan '[.body.steps[].actions[] | [.vm, .from]] | sort == [["a","h1"],["b","h1"]]' --drain h1
safe
plan '.body.class == "drain" and .body.reason == "to be emptied: h1 h2"' --drain h1 h2
safe
# A hold does not bind a drain, and the plan says so.
plan '.body.steps[0].actions[0] | .overrides == ["hold"] and (.reason | test("does not bind"))' --drain h2
safe
plan '[.body.steps[].actions[] | .from] | unique == ["h1"]' --drain h1,h3
plan '[.body.steps[].actions[] | .to] | unique == ["h3"]' --drain-domain dc/r1
safe

# A lost host's VMs start elsewhere; what stands in the way of the rest is said.
plan '[.body.steps[].actions[] | .type] == ["start","start"]' --fail h1
safe --fail h1
"$skein" plan verify --snapshot "$tmp/s.json" "$tmp/p.json" >/dev/null 2>&1 && fail "it fits another snapshot"
plan 'true' --fail h1 --save-snapshot "$tmp/lost.json"
"$skein" plan verify --snapshot "$tmp/lost.json" "$tmp/p.json" >/dev/null || fail "--save-snapshot"
plan '[.body.refused[] | .vm] | index("c") != null' --fail h1 h2
safe --fail h1 --fail h2

# With a new host there is more room; without the rule, fewer hosts will do.
plan '[.body.steps[].actions[] | .to] | index("h4") != null' --add-host "$tmp/h4.json"
safe --add-host "$tmp/h4.json"
plan '.body.predicted.hosts_used.after == 1' --mode consolidate --remove-rule apart --at 2026-11-24T00:00:00Z
safe --remove-rule apart --at 2026-11-24T00:00:00Z

# Altered or not, the same snapshot has the same digest; a new host may be lost, or drained, too.
digest() { jq -re .body.snapshot_digest "$tmp/p.json"; }
plan 'true' --mode enforce --remove-rule apart --save-snapshot "$tmp/less.json"
jq 'del(.rules[0])' "$tmp/s.json" >"$tmp/less2.json"
first=$(digest)
"$skein" plan make --snapshot "$tmp/less2.json" --mode enforce -o json >"$tmp/p.json"
[ "$first" = "$(digest)" ] || fail "the digest without the rule: $first, $(digest)"
jq -e '.rules == [] and (.hosts | length) == 3 and .cluster == "t"' "$tmp/less.json" >/dev/null || fail "$(cat "$tmp/less.json")"
plan '.body.steps == [] and .body.reason != null' --add-host "$tmp/h4.json" --fail h4 --save-snapshot "$tmp/more.json"
jq -e '.hosts[] | select(.name == "h4") | .state == "offline"' "$tmp/more.json" >/dev/null || fail "h4 is lost"

# With a policy, hosts to be drained are marked so.
"$skein" plan make --snapshot "$tmp/s.json" --policy "$policies/maintenance_drain.lua" --drain h1 -o json >"$tmp/p.json"
jq -e '[.body.steps[].actions[]] | length == 2' "$tmp/p.json" >/dev/null || fail "a policy with --drain"
safe --drain h1 --policy "$policies/maintenance_drain.lua"

refuses 'no host "h9"; did you mean' plan make --snapshot "$tmp/s.json" --drain h9
refuses 'no rule "apartt"; did you mean "apart"?' plan make --snapshot "$tmp/s.json" --remove-rule apartt
refuses 'no host "h9"; did you mean' plan make --snapshot "$tmp/s.json" --fail h9
echo '{"schema":"skein.snapshot/1","hosts":[],"hosts":[],"vms":[]}' >"$tmp/twice.json"
refuses 'duplicate key "hosts"' plan make --snapshot "$tmp/twice.json" --fail h1
echo '{"schema":"skein.snapshot/1","hosts":[],"vms":{}}' >"$tmp/odd.json"
refuses 'vms: must be a list' plan make --snapshot "$tmp/odd.json" --fail h1
refuses 'no host is in failure domain "dc/r"' plan make --snapshot "$tmp/s.json" --drain-domain dc/r
refuses 'has a host "h4" already' plan make --snapshot "$tmp/s.json" --add-host "$tmp/h4.json" --add-host "$tmp/h4.json"
refuses '--mode "balence"' plan make --snapshot "$tmp/s.json" --mode balence
refuses 'restart wants --fail' plan make --snapshot "$tmp/s.json" --mode restart
refuses "are the policy's to say" plan make --snapshot "$tmp/s.json" --policy x.lua --n-plus 1

# Room for more: 10 slots of 8 GiB, 3 taken; were h1 or h2 lost, 6 remain.
fits=$("$skein" plan fit --snapshot "$tmp/s.json" --vcpus 2 --memory-mib 8192 --n-plus 1 -o json | jq .fits)
[ "$fits" = 3 ] || fail "$fits fit, 3 wanted"
fits=$("$skein" plan fit --snapshot "$tmp/s.json" --like a -o json | jq -c '[.fits, ([.hosts[].more] | add)]')
[ "$fits" = '[7,7]' ] || fail "$fits fit, 7 wanted"
fits=$("$skein" plan fit --snapshot "$tmp/s.json" --like a --add-host "$tmp/h4.json" --n-plus 1 -o json | jq .fits)
[ "$fits" = 7 ] || fail "$fits fit with another host, 7 wanted"
"$skein" plan fit --snapshot "$tmp/s.json" --like a --n-plus 1 | grep -q "^3 more VMs" || fail "fit as text"
refuses 'the size is missing' plan fit --snapshot "$tmp/s.json"
refuses 'no VM "z"' plan fit --snapshot "$tmp/s.json" --like z

# Why this host, what others would cost, and what would allow the rest.
plan 'true' --drain h1
out=$("$skein" plan explain "$tmp/p.json") || fail "explain"
grep -q "step 1  a  h1 -> h3" <<<"$out" || fail "explain: $out"
grep -q "h2: RULE_ANTI_AFFINITY: rule apart" <<<"$out" || fail "no refused host: $out"
grep -q "not moving" <<<"$out" || fail "no cost of not moving: $out"
"$skein" plan explain "$tmp/p.json" -o json |
    jq -e '.steps[0].actions[] | select(.vm == "b") | .alternatives[] | select(.host == "h3") | .cost | type == "number"' \
        >/dev/null || fail "no cost of another host"
plan '.body.reason == "every rule holds"' --mode enforce
"$skein" plan explain "$tmp/p.json" | grep -q "there is nothing to do" || fail "nothing to do"
exit $failed
