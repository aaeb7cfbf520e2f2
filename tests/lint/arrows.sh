#!/usr/bin/env bash
# Arrows point only downward: every #include "ROOM/..." of a room is one its row allows.
set -eu
cd "$(dirname "$0")/../.."

allowed() {
    case $1 in
    proto) echo "proto" ;;
    tls) echo "tls proto" ;;
    planner/core) echo "planner/core proto" ;;
    planner/check) echo "planner/check proto" ;;
    planner/trace) echo "planner/trace planner/core proto" ;;
    planner/worker) echo "planner/worker planner/core planner/check proto" ;;
    agent/core) echo "agent/core planner/core planner/check proto" ;;
    agent/io) echo "agent/io agent/core planner/core planner/check planner/trace planner/worker tls proto" ;;
    agent/ctl) echo "agent/ctl planner/core planner/check planner/trace planner/worker tls proto" ;;
    agent/sim) echo "agent/sim agent/core planner/core proto" ;;
    *) echo "" ;;
    esac
}

bad=0
for room in proto tls planner/core planner/check planner/trace planner/worker agent/core agent/io agent/ctl agent/sim; do
    [ -d "$room" ] || continue
    row=" $(allowed "$room") "
    while IFS=: read -r file line include; do
        target=${include#*\"}
        target=${target%\"*}
        target=${target%/*}
        case $row in
        *" $target "*) ;;
        *)
            echo "$file:$line: $room must not include \"$target/...\" (allowed:$row)"
            bad=1
            ;;
        esac
    done < <(grep -rnE '^#include "' --include='*.[ch]' "$room" || true)
done

# Only the worker knows Lua; only the libvirt hypervisor knows libvirt; only tls and proto GnuTLS.
only() { # PATTERN ROOMS...: includes that stand nowhere else
    local pattern=$1 found
    shift
    found=$(grep -rlE "^#include <$pattern" --include='*.[ch]' proto tls planner agent || true)
    for file in $found; do
        local ok=0
        for room in "$@"; do
            case $file in "$room"*) ok=1 ;; esac
        done
        [ $ok = 1 ] || { echo "$file: includes <$pattern...>, which belongs to: $*"; bad=1; }
    done
}
only 'lua' planner/worker
only 'libvirt/' agent/io/hypervisor_libvirt
only 'gnutls/' tls proto/hash
only 'raft' agent/io/raft_ agent/io/consensus
only 'zmq' tls
only 'sqlite3' agent/io/store
only 'microhttpd' agent/io/http

[ $bad = 0 ] && echo "arrows: all point downward"
exit $bad
