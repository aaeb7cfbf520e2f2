#!/usr/bin/env bash
# Every folder of scenarios/: a published bug's condition is made, and what came of it is what `expected` says. Three at a
# time; no root is needed. With names as arguments: only those.
set -eu
. "$(dirname "$0")/lib/lib.sh"

AT_ONCE=3
cd "$(dirname "$0")/scenarios"
names=("$@")
[ $# -gt 0 ] || names=(*/)

one() { # NAME
    local name=$1
    "./$name/run" >"$WORK/$name.out" 2>"$WORK/$name.err" && diff -u "$name/expected" "$WORK/$name.out" >"$WORK/$name.diff" &&
        touch "$WORK/$name.well"
}

verdict() { # NAME
    [ -e "$WORK/$1.well" ] || {
        cat "$WORK/$1.diff" 2>/dev/null || :
        tail -n 30 "$WORK/$1.err"
        return 1
    }
}

for name in "${names[@]}"; do
    while (($(jobs -rp | wc -l) >= AT_ONCE)); do wait -n || :; done
    one "${name%/}" &
done
wait
for name in "${names[@]}"; do
    check "$(sed -n '1s/^# //p' "$name/README.md")" verdict "${name%/}"
done
