#!/usr/bin/env bash
# Cores are pure: their objects need no clock, no random numbers, no files, sockets or threads.
# usage: purity.sh LIBRARY.a...
set -eu
forbidden='^(time|clock|gettimeofday|clock_gettime|localtime|localtime_r|rand|random|srandom|drand48|getrandom|arc4random|getenv|open|open64|fopen|fopen64|read|write|socket|connect|send|recv|pthread_.*|uv_.*|zmq_.*|vir[A-Z].*|sqlite3_.*|fork|execv.*|system|sleep|usleep|nanosleep|lua_.*|luaL_.*)$'
bad=0
for library in "$@"; do
    [ -f "$library" ] || { echo "$library: missing"; exit 1; }
    symbols=$(nm -u -A "$library" 2>/dev/null)
    [ -n "$symbols" ] || { echo "$library: nm finds no symbols"; exit 1; }
    found=$(awk '{sub(/@.*/, "", $NF); print $1, $NF}' <<<"$symbols" |
        awk -v f="$forbidden" '$2 ~ f')
    if [ -n "$found" ]; then
        echo "$found"
        bad=1
    fi
done
[ $bad = 0 ] && echo "purity: $# libraries need neither clock nor random numbers nor I/O"
exit $bad
