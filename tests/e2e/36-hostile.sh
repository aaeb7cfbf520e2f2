#!/usr/bin/env bash
# A thousand clients that mean no good, at once, at one agent's mesh port: silent ones, noise, TLS that never ends,
# certificates of another root. They cost it their own connections and nothing else.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/sim.sh"

check "a cluster comes up" sim_of_own --hosts 4 --guests 8
STATE=$SIM_FOLDER/clusters/test
SKEIN=${SKEIN_BUILD:-$REPO/build}/bin/skein
"$SKEIN" init --cluster test --directory "$WORK/pki" >/dev/null # the same name, another root
"$SKEIN" cert issue --directory "$WORK/pki" --host hv2 --dns hv2 --agent-only --out "$WORK/foreign" >/dev/null

pid=$(awk '{ print $1; exit }' "$STATE/hosts/hv1/agent")
log=$STATE/hosts/hv1/agent.log
files() { ls "/proc/$pid/fd" | wc -l; }
memory() { awk '/^VmRSS/ { print $2 }' "/proc/$pid/status"; }
lines() { grep -c "$1" "$log" || true; }
links() { EYE=$1 skein status -o json | jq .mesh.links; }
linked_with() { [ "$(links "$1")" = "$2" ]; }
check "all are linked with all" wait_until 20 linked_with hv1 3
files_before=$(files) memory_before=$(memory) downs_before=$(lines "is down")

"${SKEIN_BUILD:-$REPO/build}/tests/hostile" "127.$(cat "$STATE/net").0.1" 7440 1000 20 \
    "$WORK/foreign/skein/host.pem" "$WORK/foreign/skein/host.key" >"$WORK/hostile" 2>&1 &
hostile=$! # a check runs in a shell of its own, which cannot wait for it
at_exit eval 'kill "$hostile" 2>/dev/null || :'
check "they come" wait_until 5 eval '[ "$(files)" -ge 300 ]'

# ---- meanwhile
most_memory=0 most_files=0 answered=0
for ((i = 0; i < 10; i++)); do
    now=$(memory) open=$(files)
    most_memory=$((now > most_memory ? now : most_memory)) most_files=$((open > most_files ? open : most_files))
    if EYE=hv1 skein hosts >/dev/null 2>&1; then answered=$((answered + 1)); fi
    sleep 0.5
done
note "memory $memory_before to $most_memory KiB, descriptors $files_before to $most_files"
check "it answers all the time" [ $answered = 10 ]
check "its memory is bounded" [ $((most_memory - memory_before)) -lt 131072 ]
check "its links stay up" [ "$(lines "is down")" = "$downs_before" ]
sim agent kill hv4
sim agent start hv4
check "a host that comes back is linked with it all the same" wait_until 10 eval 'linked_with hv4 3'
check "what comes is logged in moderation" eval '[ "$(lines "no link with")" -lt 60 ]'

# ---- afterwards
wait "$hostile" || note "hostile ended with status $?"
check "a thousand came at once, and came again" eval \
    'awk "{ print } \$4 < 990 || \$1 < 1000 { bad = 1 } END { exit NR != 1 || bad }" <"$WORK/hostile"'
note "$(cat "$WORK/hostile")"
check "their descriptors are closed" wait_until 15 eval '[ "$(files)" -le $((files_before + 8)) ]'
check "it is the same process" kill -0 "$pid"
check "no host was taken for dead but the one that was killed" lacks "member hv[123] is dead" "$STATE"/hosts/*/agent.log
check "all are linked with all again" wait_until 20 linked_with hv1 3
