# The guide's examples are what it says they are: each is extracted, checked and tested.
. "$(dirname "$0")/lib.sh"

awk -v dir="$tmp" '
    /^```lua$/ { inside = 1; file = ""; next }
    /^```$/ { inside = 0; next }
    inside && file == "" && /^-- file: / { file = dir "/" $3 }
    inside && file != "" { print > file }
' "$src/docs/policy-guide.md"

n=0
for test in "$tmp"/*_test.lua; do
    policy=${test%_test.lua}.lua
    "$skein" policy check "$policy" >/dev/null || fail "check $(basename "$policy")"
    "$skein" policy test "$policy" || fail "test $(basename "$policy")"
    n=$((n + 1))
done
[ $n -ge 3 ] || fail "$n examples were found"

# What editors know is what there is: every hook, part and field is described.
words=$(sed -nE 's/.*X\((cpu|mem|temp|power), ([a-z_]+),.*/\2/p' "$src"/planner/worker/api_parts.c
    sed -nE 's/^    X\([A-Z]+, "([a-z]+)", [0-9]\).*/\1/p' "$src/planner/worker/policy.h"
    sed -nE '/^static const char \*const (host|vm|context)_fields/,/NULL/s/"([a-z_0-9]+)"/\n@\1\n/gp' \
        "$src"/planner/worker/api_*.c | sed -n 's/^@//p'
    sed -nE 's/^function methods\.([a-z_]+)\(.*/\1/p' "$src/policies/prelude.lua"
    sed -nE 's/^function expect\.([a-z_]+)\(.*/\1/p' "$src/planner/worker/testkit.lua")
for word in $words; do
    grep -qw -- "$word" "$src/policies/api.lua" || fail "policies/api.lua does not describe $word"
done
exit $failed
