# The same inputs give the same bytes; a shuffled snapshot gives the same plan body.
. "$(dirname "$0")/lib.sh"

for snapshot in "$snapshots"/*.json; do
    for policy in "$policies"/*.lua; do
        name=$(basename "$policy" .lua)
        case $name in prelude | api | *_test) continue ;; esac
        make one "$policy" "$snapshot" --seed 1
        make two "$policy" "$snapshot" --seed 1
        cmp -s "$tmp/one.json" "$tmp/two.json" || fail "$name on $(basename "$snapshot"): two runs differ"
        jq '.hosts |= reverse | .vms |= reverse | .rules |= reverse' "$snapshot" >"$tmp/shuffled.json"
        make three "$policy" "$tmp/shuffled.json" --seed 1
        cmp -s "$tmp/one.json" "$tmp/three.json" || fail "$name on $(basename "$snapshot"): shuffled differs"
        "$skein" plan verify --snapshot "$snapshot" --policy "$policy" "$tmp/one.json" >/dev/null ||
            fail "$name on $(basename "$snapshot"): not verified"
    done
done

# One altered byte is refused.
make plan "$policies/thermal_relief.lua" "$snapshots/hot-host.json" --seed 1
sed 's/hv1/hv9/' "$tmp/plan.json" >"$tmp/tampered.json"
"$skein" plan verify --snapshot "$snapshots/hot-host.json" "$tmp/tampered.json" 2>/dev/null &&
    fail "a tampered plan was accepted"
"$skein" plan verify --snapshot "$snapshots/hot-host.json" --policy "$policies/prelude.lua" \
    "$tmp/plan.json" 2>/dev/null && fail "a plan of another policy was accepted"
exit $failed
