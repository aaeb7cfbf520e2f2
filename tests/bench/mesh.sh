#!/usr/bin/env bash
# mesh - real agents on a simulated world, in a network namespace of their own: what they cost, and how fast news goes.
set -euo pipefail
shopt -s inherit_errexit

help() {
    cat <<'END'
usage: mesh [--agents N] [--seconds S] [--events E] [--paused] [--serf] [--keep] [-o json]

Starts N (150) real agents with their hosts simulated (deploy/sim), alone in a network namespace. After a while of settling:
CPU, memory and bytes at the interface for S (60) seconds at rest; E (5) goodbyes, each from the order to stop until the
last agent says so; a kill -9 and a SIGSTOP for ever, until the last agent says so. --paused: then a tenth of the agents
is stopped for 0.5 to 2.5 s at any time, for S seconds; deaths that any agent speaks of meanwhile are false.
--serf: the same for Serf's LAN profile (Debian's serf), in the same run; both go under "skein" and "serf".
END
}

agents=150 seconds=60 events=5 paused=0 serf=0 keep=0
while [ $# -gt 0 ]; do
    case $1 in
    --agents) agents=$2 && shift 2 ;;
    --seconds) seconds=$2 && shift 2 ;;
    --events) events=$2 && shift 2 ;;
    --paused) paused=1 && shift ;;
    --serf) serf=1 && shift ;;
    --keep) keep=1 && shift ;;
    -o) shift 2 ;; # it is always JSON
    -h | --help) help && exit 0 ;;
    *) help >&2 && exit 2 ;;
    esac
done
here=$(dirname "$(readlink -f "$0")")
repo=${SKEIN_SOURCE:-@CMAKE_SOURCE_DIR@}
export SKEIN_BUILD=${SKEIN_BUILD:-$(dirname "$here")}

if [ -z "${SKEIN_BENCH_INSIDE-}" ]; then
    flags=(--net)
    [ "$(id -u)" = 0 ] || flags+=(--user --map-root-user)
    args=(--agents "$agents" --seconds "$seconds" --events "$events")
    [ $paused = 0 ] || args+=(--paused)
    [ $serf = 0 ] || args+=(--serf)
    [ $keep = 0 ] || args+=(--keep)
    SKEIN_BENCH_INSIDE=1 exec unshare "${flags[@]}" "$0" "${args[@]}"
fi
ip link set lo up
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
say() { echo "mesh: $*" >&2; }

# ---- what the kernel counts ----

tick=$(getconf CLK_TCK)
cpu_ticks() { # PID...: user and system time
    local pid total=0 stat
    for pid in "$@"; do
        stat=$(cat "/proc/$pid/stat" 2>/dev/null) || continue
        stat=${stat##*) }
        # shellcheck disable=SC2086 # fields
        set -- $stat
        total=$((total + ${12} + ${13}))
    done
    echo "$total"
}
memory_kb() { # FIELD PID...: sum
    local field=$1
    shift
    for pid in "$@"; do cat "/proc/$pid/smaps_rollup" 2>/dev/null || true; done |
        awk -v f="$field:" '$1 == f { sum += $2 } END { print sum + 0 }'
}
# of this namespace: /sys shows those of the namespace in which it was mounted
lo() { awk -v f="$1" '$1 == "lo:" { print f == "bytes" ? $2 : $3 }' /proc/net/dev; }
now_ms() { date +%s%3N; }

# rest LABEL PID...: sets cpu_pct pss_mb rss_mb bytes_s packets_s, an agent
rest() {
    local n=$# c0 c1 b0 b1 p0 p1
    c0=$(cpu_ticks "$@") b0=$(lo bytes) p0=$(lo packets)
    sleep "$seconds"
    c1=$(cpu_ticks "$@") b1=$(lo bytes) p1=$(lo packets)
    cpu_pct=$(awk "BEGIN { printf \"%.4f\", ($c1 - $c0) / $tick / $seconds / $n * 100 }")
    bytes_s=$(awk "BEGIN { printf \"%.1f\", ($b1 - $b0) / $seconds / $n }")
    packets_s=$(awk "BEGIN { printf \"%.2f\", ($p1 - $p0) / $seconds / $n }")
    pss_mb=$(awk "BEGIN { printf \"%.2f\", $(memory_kb Pss "$@") / 1024 / $n }")
    rss_mb=$(awk "BEGIN { printf \"%.2f\", $(memory_kb Rss "$@") / 1024 / $n }")
}
percentile() { # P, numbers on stdin
    sort -n | awk -v p="$1" '{ v[NR] = $1 } END { i = int(NR * p + 0.999); print (NR ? v[i < 1 ? 1 : i] : "null") }'
}

# ---- skein ----

export SKEIN_SIM=bench$$ SKEIN_SIM_ROOT=${TMPDIR:-/tmp}/skein-bench.$$
sim() { "$repo/deploy/sim" "$@"; }
down() {
    sim down >/dev/null 2>&1 || true
    [ $keep = 1 ] || rm -rf "$SKEIN_SIM_ROOT"
}
state=$SKEIN_SIM_ROOT/$SKEIN_SIM
log_of() { echo "$state/hosts/$1/$(basename "$(ls "$state/hosts/$1/"*log* 2>/dev/null | sed -n 1p)")"; }
PROGRAM=mesh
# shellcheck source=deploy/shared.d/process.sh
. "$repo/deploy/shared.d/process.sh"
# Only processes that this very cluster recorded, and that are still the same: other clusters have hosts of these names.
pid_of() { recorded "$state/hosts/$1/agent"; }
running() { for h in "${hosts[@]}"; do pid_of "$h"; done; }

# when TEXT SINCE_MS: for each agent's log the moment (ms) of the first such line since then, one a line
when() {
    local text=$1 since=$2
    for h in "${hosts[@]}"; do
        grep -hF "$text" "${logs[$h]}" 2>/dev/null | cut -d ' ' -f 1 || true
    done | date -f - +%s%3N 2>/dev/null | awk -v s="$since" '$1 >= s'
}
# all_say TEXT SINCE COUNT LIMIT_S: waits until so many have said so
all_say() {
    local end=$(($(now_ms) + $4 * 1000))
    while [ "$(when "$1" "$2" | wc -l)" -lt "$3" ] && [ "$(now_ms)" -lt $end ]; do sleep 0.5; done
}
last_after() { # TEXT SINCE: seconds until the last
    when "$1" "$2" | sort -n | tail -n 1 | awk -v s="$2" '{ printf "%.3f", ($1 - s) / 1000 } END { if (!NR) printf "null" }'
}

summaries() {
    for h in "${hosts[@]}"; do sim skein "$h" status -o json 2>/dev/null | jq '.mesh.summaries'; done | awk '{ s += $1 } END { print s + 0 }'
}

goodbyes() { # prints each agent's ms after the order
    local i host pid t
    for ((i = 0; i < events; i++)); do
        host=${hosts[$(((7 + 13 * i) % agents))]}
        pid=$(pid_of "$host")
        t=$(now_ms)
        kill -TERM "$pid"
        all_say "member $host has left" "$t" $((agents - 1)) 20
        when "member $host has left" "$t" | awk -v s="$t" '{ print $1 - s }'
        echo "last $(when "member $host has left" "$t" | sort -n | tail -n 1 | awk -v s="$t" '{ print $1 - s }')" >&3
        wait_gone "$pid"
        sim agent start "$host" >&2
        sleep 5
    done
}

pauses() {
    local end=$(($(now_ms) + seconds * 1000)) h pid
    while [ "$(now_ms)" -lt "$end" ]; do
        for ((i = 0; i < agents / 15; i++)); do
            h=${hosts[$((RANDOM % agents))]}
            pid=$(pid_of "$h") || continue
            (
                kill -STOP "$pid" && sleep "$((RANDOM % 3)).$((RANDOM % 5 + 5))"
                kill -CONT "$pid"
            ) 2>/dev/null &
        done
        sleep 1.5
    done
    wait
}

declare -A logs
bench_skein() {
    local victim stopped t pids s0 s1 kill_s stop_s false_deaths=0 p50 last
    say "starting $agents agents"
    sim up --hosts "$agents" --guests $((agents * 4)) >&2
    trap down EXIT
    mapfile -t hosts < <(jq -r '.hosts[].name' "$state/hosts.json")
    for h in "${hosts[@]}"; do logs[$h]=$(log_of "$h"); done
    sleep 40
    mapfile -t pids < <(running)
    say "${#pids[@]} agents; at rest for $seconds s"
    s0=$(summaries)
    t=$(now_ms)
    rest "${pids[@]}"
    s1=$(summaries)
    samples_s=$(awk "BEGIN { printf \"%.2f\", ($s1 - $s0) / ($(now_ms) - $t) * 1000 / $agents }")
    say "goodbyes"
    exec 3>"$SKEIN_SIM_ROOT/lasts"
    goodbyes >"$SKEIN_SIM_ROOT/events"
    exec 3>&-
    p50=$(percentile 0.5 <"$SKEIN_SIM_ROOT/events")
    last=$(cut -d ' ' -f 2 "$SKEIN_SIM_ROOT/lasts" | percentile 0.5)
    say "a death, and one that stands still"
    victim=${hosts[$((agents / 2 + 1))]} stopped=${hosts[$((agents / 3 + 1))]}
    t=$(now_ms)
    kill -KILL "$(pid_of "$victim")"
    all_say "member $victim is dead" "$t" $((agents - 1)) 20
    kill_s=$(last_after "member $victim is dead" "$t")
    kill_known=$(when "member $victim is dead" "$t" | wc -l)
    sim agent start "$victim" >&2
    sleep 10
    t=$(now_ms)
    kill -STOP "$(pid_of "$stopped")"
    all_say "member $stopped is dead" "$t" $((agents - 1)) 30
    stop_s=$(last_after "member $stopped is dead" "$t")
    stop_known=$(when "member $stopped is dead" "$t" | wc -l)
    kill -CONT "$(pid_of "$stopped")"
    sleep 10
    if [ $paused = 1 ]; then
        say "a tenth is paused at any time, for $seconds s"
        t=$(now_ms)
        pauses
        sleep 5
        false_deaths=$(when " is dead" "$t" | wc -l)
    fi
    down
    jq -n --argjson agents "$agents" --argjson pss "$pss_mb" --argjson rss "$rss_mb" --argjson cpu "$cpu_pct" --argjson bytes "$bytes_s" \
        --argjson packets "$packets_s" --argjson samples "$samples_s" --argjson p50 "$p50" --argjson last "$last" --argjson kill "$kill_s" \
        --argjson killed "$kill_known" --argjson stop "$stop_s" --argjson stopped "$stop_known" --argjson false "$false_deaths" \
        '{agents: $agents, pss_mb: $pss, rss_mb: $rss, cpu_pct: $cpu, bytes_s: $bytes, packets_s: $packets, samples_s: $samples,
          bytes_per_sample: (if $samples > 0 then $bytes / $samples else null end), event_p50_ms: $p50, event_last_ms: $last,
          kill_detect_s: $kill, kill_known: $killed, stop_detect_s: $stop, stop_known: $stopped, false_deaths: $false, failover_p99_s: null}'
}

# ---- Serf ----

bench_serf() {
    local dir=$SKEIN_SIM_ROOT/serf i t pids=() victim lasts=() all=()
    mkdir -p "$dir"
    command -v serf >/dev/null || { say "serf is not installed (apt install serf)" && echo null && return; }
    say "starting $agents of Serf"
    cat >"$dir/handler" <<'END'
#!/bin/sh
case $SERF_EVENT in
user) echo "$(date +%s%3N) user $SERF_USER_EVENT" ;;
*) while read -r name rest; do echo "$(date +%s%3N) $SERF_EVENT $name"; done ;;
esac >>"$0.$SERF_SELF_NAME"
END
    chmod +x "$dir/handler"
    for ((i = 0; i < agents; i++)); do
        serf agent -node="n$i" -bind="127.90.$((i / 250)).$((i % 250 + 1)):7946" -rpc-addr="127.91.$((i / 250)).$((i % 250 + 1)):7373" \
            -profile=lan -join=127.90.0.1:7946 -log-level=err >"$dir/$i.log" 2>&1 &
        pids+=($!)
        [ $((i % 20)) != 19 ] || sleep 1
    done
    trap 'kill "${serf_pids[@]}" 2>/dev/null; down' EXIT
    serf_pids=("${pids[@]}")
    sleep 40
    rest "${pids[@]}"
    kill "${pids[@]}" 2>/dev/null
    wait "${pids[@]}" 2>/dev/null || true
    jq -n --argjson agents "$agents" --argjson pss "$pss_mb" --argjson rss "$rss_mb" --argjson cpu "$cpu_pct" --argjson bytes "$bytes_s" --argjson packets "$packets_s" \
        '{agents: $agents, pss_mb: $pss, rss_mb: $rss, cpu_pct: $cpu, bytes_s: $bytes, packets_s: $packets}'
}

mkdir -p "$SKEIN_SIM_ROOT"
skein=$(bench_skein)
if [ $serf = 0 ]; then
    echo "$skein"
else
    jq -n --argjson skein "$skein" --argjson serf "$(bench_serf)" '{skein: $skein, serf: $serf}'
fi
