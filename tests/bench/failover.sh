#!/usr/bin/env bash
# failover - planners that are killed: how long until another one acts.
set -euo pipefail
shopt -s inherit_errexit

help() {
    cat <<'END'
usage: failover [--agents N] [--kills K] [--quiet SECONDS]

N (50) real agents with their hosts simulated (deploy/sim), five of them voters, election timeout 500 ms. K (50) times the
planner's agent is killed (SIGKILL); from there until another one says that it plans, which it does once all that was
agreed on before is applied there and an entry of its own is agreed on. Its agent is started again before the next.
Then SECONDS (0) without a kill, in which elections are counted. One JSON document.
END
}

agents=50 kills=50 quiet=0
while [ $# -gt 0 ]; do
    case $1 in
    --agents) agents=$2 && shift 2 ;;
    --kills) kills=$2 && shift 2 ;;
    --quiet) quiet=$2 && shift 2 ;;
    -h | --help) help && exit 0 ;;
    *) help >&2 && exit 2 ;;
    esac
done
repo=${SKEIN_SOURCE:-@CMAKE_SOURCE_DIR@}
export SKEIN_BUILD=${SKEIN_BUILD:-$(dirname "$(dirname "$(readlink -f "$0")")")}
export SKEIN_SIM=failover$$ SKEIN_SIM_ROOT=${TMPDIR:-/tmp}/skein-failover.$$
sim() { "$repo/deploy/sim" "$@"; }
say() { echo "failover: $*" >&2; }
down() {
    sim down >/dev/null 2>&1 || true
    rm -rf "$SKEIN_SIM_ROOT"
}
hosts=$SKEIN_SIM_ROOT/$SKEIN_SIM/hosts
PROGRAM=failover
# shellcheck source=deploy/shared.d/process.sh
. "$repo/deploy/shared.d/process.sh"

# Each "this host plans" of all agents' logs: "MS HOST TERM", in their order.
reigns() {
    grep -H "this host plans" "$hosts"/*/agent.log | sed -E 's|.*/([^/]+)/agent.log:([^ ]+) .* term ([0-9]+):.*|\2 \1 \3|' |
        while read -r at host term; do echo "$(date -d "$at" +%s%3N) $host $term"; done | sort -n
}
# planner SINCE_MS: the host that plans since then, "" while there is none
planner() { reigns | awk -v s="$1" '$1 >= s { at = $1 " " $2 } END { print at }'; }

mkdir -p "$SKEIN_SIM_ROOT"
trap down EXIT
say "starting $agents agents"
sim up --hosts "$agents" --guests $((agents * 4)) >&2
sleep 20
now=$(planner 0)
for ((i = 0; i < kills; i++)); do
    host=${now#* }
    pid=$(recorded "$hosts/$host/agent")
    t=$(date +%s%3N)
    kill -KILL "$pid"
    for ((try = 0; try < 100; try++)); do
        now=$(planner "$t")
        [ -z "$now" ] || break
        sleep 0.2
    done
    [ -n "$now" ] || { say "nobody plans 20 s after $host was killed" && exit 1; }
    echo "$((${now% *} - t))"
    wait_gone "$pid"
    sim agent start "$host" >&2
    sleep 3 # it has joined, and has the log
    now=$(planner 0)
done >"$SKEIN_SIM_ROOT/times"
before=$(reigns | wc -l)
sleep "$quiet"
jq -n --argjson agents "$agents" --argjson quiet "$quiet" --argjson needless $(($(reigns | wc -l) - before)) \
    --slurpfile ms "$SKEIN_SIM_ROOT/times" '($ms | sort) as $s | ($s | length) as $n |
    {agents: $agents, kills: $n, p50_ms: $s[$n / 2 | floor], p98_ms: $s[([$n * 0.98 | ceil, 1] | max) - 1], max_ms: $s[-1], quiet_s: $quiet, needless: $needless, ms: $s}'
