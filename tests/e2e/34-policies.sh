#!/usr/bin/env bash
# A policy's life, on simulated hosts: from the guide's page to a shadow, promoted, carried out under a standing order with
# nobody at the keyboard; broken updates and reverts; and the planner's death, after which the cluster still has it.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/sim.sh"

jq -n '{schema: "skein.snapshot/1", cluster: "policies", taken_at: "2026-11-22T12:00:00Z", seed: 1,
    hosts: [range(1; 5) | {name: "hv\(.)", state: "up", failure_domain: "dc/r\(. / 3 | floor)",
        cpu: {cores: 16, used_cores: 1, overcommit: 4, model: "EPYC-Milan"}, arch: "x86_64",
        temperature: {inlet_celsius: 24, cpu_celsius: 45, cpu_max_celsius: 90},
        memory: {total_mib: 65536, reserved_mib: 1024, used_mib: 2000}, migration_mbps: 10000, networks: ["br0"],
        storage: [{name: "ceph", shared: true, free_mib: 900000, total_mib: 1000000}], machines: ["pc-q35-7.2"]}],
    vms: [range(1; 9) | {name: "vm\(.)", uuid: "00000000-0000-4000-8000-00000000000\(.)", host: "hv\((. + 1) / 2 | floor)",
        tags: (if . == 1 then {tier: "gold"} elif . == 2 then {tier: "batch"} else {} end), memory_mib: (if . == 2 then 512 else 1024 end),
        state: "running", persistent: true, vcpus: 1, cpu_used_cores: 0.2, memory_used_mib: 300, dirty_mib_s: 2, wset_mib: 50,
        storage: ["ceph"], networks: ["br0"], machine: "pc-q35-7.2"}]}' >"$WORK/world.json"
cp "$WORK/world.json" "$SIM_FOLDER/" && chmod 644 "$SIM_FOLDER/world.json"
check "a cluster comes up" sim_of_own --snapshot "$SIM_FOLDER/world.json" --policies thermal_relief --evaluate 1 --speed 10
check "all guests are known" wait_until 60 guests_known 8

# From the guide alone: its example, checked and tested.
awk -v dir="$SIM_FOLDER" '/^```lua$/ { inside = 1; file = ""; next } /^```$/ { inside = 0; next }
    inside && file == "" && /^-- file: gold_apart/ { file = dir "/" $3 }
    inside && file != "" { print > file }' "$REPO/docs/policy-guide.md"
GOLD=$SIM_FOLDER/gold_apart.lua
chmod 644 "$SIM_FOLDER"/gold_apart*.lua
check "the guide's policy is one" skein policy check "$GOLD"
check "its tests pass" skein policy test "$GOLD"

signed() { # PERSON ARGUMENTS...: skein policy ..., signed by that person
    local who=$1
    shift
    # shellcheck disable=SC2046
    skein policy "$@" $(as "$who")
}
record() { skein policy list -o json | jq -e --arg n "$1" ".policies[] | select(.name == \$n) | $2"; } # NAME FILTER
no_plans() { [ "$(skein plan list -o json | jq '.plans | length')" = 0 ]; }

# ---- what the cluster began with
check "the files' policy is held" wait_until 20 record thermal_relief '.active.person == null and .state == "ok"'

# ---- its parameters: they are the version's
refuses_param() { ! signed admin promote --param "$1" thermal_relief 2>"$WORK/refused" && grep -q "$2" "$WORK/refused"; }
check "a parameter that it has not is refused" refuses_param limitt=70 "did you mean 'limit'"
check "and a value beyond its bounds" refuses_param limit=700 "allowed is 40 to 110"
check "one that it has is carried" signed admin promote --param limit=70 thermal_relief
check "and in effect" wait_until 20 record thermal_relief '.active.params == {limit: 70} and .run.digest == .active.digest and .state == "ok"'
check "people can read it" prints "with limit = 70" skein policy list
order_of_params() { # an order for that very version, taken back
    local id
    # shellcheck disable=SC2046
    id=$(skein order add --policy-file "$REPO/policies/thermal_relief.lua" --param limit=70 --moves-per-hour 1 $(as admin)) &&
        skein order list -o json | jq -e --argjson d "$(record thermal_relief .active.digest)" '.orders[0].policy_digest == $d' &&
        skein order remove "$id" $(as admin)
}
check "an order can be for it" order_of_params

# ---- shadow
check "a viewer gives no shadow" fails signed viewer shadow "$GOLD"
check "an operator does" signed operator shadow "$GOLD"
check "it says what it would do" wait_until 20 record gold_apart '.shadow_run.rounds > 3 and .shadow_run.moves[0].vm == "vm2"'
check "people can read it" prints "would move 1 VM" skein policy list
check "nothing was proposed" no_plans

# ---- promote
check "an operator does not promote" fails signed operator promote gold_apart
check "an admin does" signed admin promote gold_apart
check "it proposes now, and waits" wait_until 20 plan_waits optimise
check "the plan is of that version" eval '[ "$(skein plan show "$(cat "$WORK/plan")" -o json | jq -r .body.policy.digest)" = "$(record gold_apart .active.digest | tr -d \")" ]'

# ---- the planner dies: what people gave the cluster is there
old=$(planner_now)
sim agent kill "$old" >/dev/null
check "another one plans" wait_until 40 planner_other_than "$old"
check "with the same policies" wait_until 40 record gold_apart '.active.person == "admin" and .state == "ok"'
check "and the same parameters" record thermal_relief '.active.params == {limit: 70}'
sim agent start "$old" >/dev/null

# ---- nobody at the keyboard
# shellcheck disable=SC2046
check "a standing order" skein order add --policy-file "$GOLD" --moves-per-hour 10 $(as admin)
check "gold and batch part" wait_until 60 eval '[ "$(guest_host vm1)" != "$(guest_host vm2)" ]'
check "nothing is doubled or lost" all_guests_well

# ---- a broken update
sed 's/^function P.trigger(c)/&\n    local no = c.nonsense/' "$GOLD" >"$SIM_FOLDER/broken.lua"
echo 'function' >"$SIM_FOLDER/syntax.lua"
chmod 644 "$SIM_FOLDER"/*.lua
check "what does not load is refused here" fails signed admin promote "$SIM_FOLDER/syntax.lua"
check "what loads and never runs is taken" signed admin promote "$SIM_FOLDER/broken.lua"
check "and makes way for the one before" wait_until 40 record gold_apart '.state == "broken" and .run.digest == .previous.digest and .run.failures == 0'
check "which people are told" prints "does not run" skein policy list
check "and the status, too" prints "does not run" skein status
check "reverted" signed operator revert gold_apart --reason "it never ran"
check "all is as before" wait_until 20 record gold_apart '.state == "ok" and .active.person == "operator" and .previous == null'
check "retired" signed operator revert gold_apart
check "it does not run any more" wait_until 20 record gold_apart '.state == "retired" and .run == null'

# ---- a rule of the cluster
# shellcheck disable=SC2046
check "a viewer gives no rule" fails skein rule add --type run-on --vms vm1 --hosts "$(guest_host vm1)" stays $(as viewer)
# shellcheck disable=SC2046
check "an operator does" skein rule add --type run-on --vms vm1 --hosts "$(guest_host vm1)" stays $(as operator)
check "people can read it" prints "run-on" skein rule list
elsewhere() { printf '%s\n' hv1 hv2 hv3 | grep -vx "$(guest_host vm1)" | sed -n 1p; }
# shellcheck disable=SC2046
refused_by_rule() { ! skein migrate vm1 "$(elsewhere)" $(as operator) 2>"$WORK/refused" && grep -q RULE_RUN_ON "$WORK/refused"; }
check "no plan breaks it, also when a person asks" refused_by_rule
# shellcheck disable=SC2046
check "taken back" skein rule remove stays $(as operator)
# shellcheck disable=SC2046
check "a plan is made" skein migrate vm1 "$(elsewhere)" $(as operator)

audited() { sim ctl status >/dev/null && for host in hv1 hv2 hv3; do sim skein "$host" audit list --limit 1000 -o json; done | grep "$1" >/dev/null; }
check "the audit has it all" eval 'audited policy.shadowed && audited policy.would && audited policy.promoted && audited policy.broken && audited policy.reverted && audited rule.added && audited rule.removed'

# ---- what policies were shown, to try others on
check "the planners recorded it" skein policy record export --to "$SIM_FOLDER/day" "$SIM_FOLDER"/clusters/*/hosts/*/state/recorded
check "and it can be lived through again" skein policy backtest "$REPO/policies/balance.lua" --trace "$SIM_FOLDER/day"
