#!/usr/bin/env bash
# No agent acts on another's word. hv3's certificate in the hands of a liar (tests/e2e/liar.c): what it asks of a source and
# of a destination is refused, nothing moves, and the refusals are in the audit. And strangers at the mesh port.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/lab.sh"
. "$(dirname "$0")/lib/mesh.sh"
BUILD=${SKEIN_BUILD:-$REPO/build}

agents_of_own 3
lab guest add prey --host hv1 --memory 64
lab guest add bait --host hv3 --memory 64
check "all agents see the guests" wait_until 20 eval 'guests_seen 2 hv1 && guests_seen 2 hv2'

# Two real plans that wait for approval: prey leaves hv1, bait leaves hv3 for hv1.
body_of_move() { # GUEST TO FILE
    # shellcheck disable=SC2046
    ask_for "$1" "$2" hv1 &&
        wait_until 10 plan_waits hv1 &&
        skein_on hv1 plan show "$(cat "$WORK/plan")" -o json | jq -c .body >"$3" &&
        skein_on hv1 plan reject "$(cat "$WORK/plan")" --yes $(as approver)
}
# Files that the liar, inside a host, can read.
SCRATCH=$(mktemp -d /tmp/skein-liar-XXXXXX)
at_exit rm -rf "$SCRATCH"
check "a plan to move prey" body_of_move prey hv2 "$SCRATCH/prey.json"
check "a plan to move bait" body_of_move bait hv1 "$SCRATCH/bait.json"

lab kill hv3 agent
sleep 1
lie() { # PEER KIND BODY OPTION...
    local peer=$1 kind=$2 body=$3
    shift 3
    lab exec hv3 "$BUILD/tests/liar" /etc/pki/skein hv3 10.77.0.3:7440 "10.77.0.${peer#hv}:7440" "$peer" "$kind" "$body" "$@"
}
refused() { prints "refused" lie "$@"; }
approver="sign=$PEOPLE/approver.key:$PEOPLE/approver.pem"
viewer="sign=$PEOPLE/viewer.key:$PEOPLE/viewer.pem"
operator="sign=$PEOPLE/operator.key:$PEOPLE/operator.pem"

check "source: a start without approval is refused" refused hv1 start "$SCRATCH/prey.json"
check "source: approved by a viewer, refused" refused hv1 start "$SCRATCH/prey.json" "$viewer"
check "source: approved by an operator, refused" refused hv1 start "$SCRATCH/prey.json" "$operator"
check "source: one byte altered after the approval, refused" refused hv1 start "$SCRATCH/prey.json" "$approver" alter
check "source: approved, but no voter knows the permit, refused" refused hv1 start "$SCRATCH/prey.json" "$approver"
check "source: its refusals are in the audit" audited hv1 start.refused
check "destination: a reservation without approval is refused" refused hv1 reserve "$SCRATCH/bait.json"
check "destination: approved by a viewer, refused" refused hv1 reserve "$SCRATCH/bait.json" "$viewer"
check "destination: one byte altered after the approval, refused" refused hv1 reserve "$SCRATCH/bait.json" "$approver" alter
check "destination: approved, but no voter knows the permit, refused" refused hv1 reserve "$SCRATCH/bait.json" "$approver"
check "destination: another VM than the plan's, refused" refused hv1 reserve "$SCRATCH/bait.json" "$approver" unsigned-vm
check "destination: its refusals are in the audit" audited hv1 reserve.refused
check "prey is still on hv1" guest_is prey hv1
check "bait is still on hv3" guest_is bait hv3

# ---- strangers
strangers() { # it is the same agent afterwards, and answers
    local pid
    pid=$(lab exec hv1 cat /run/agent.pid)
    for _ in $(seq 30); do
        lab exec hv3 timeout 2 bash -c 'head -c 2000 /dev/urandom >/dev/tcp/10.77.0.1/7440' 2>/dev/null || true
        lab exec hv3 timeout 1 bash -c 'printf "GET / HTTP/1.0\r\n\r\n" >/dev/tcp/10.77.0.1/7440' 2>/dev/null || true
    done
    lab exec hv1 kill -0 "$pid"
    [ "$(lab exec hv1 cat /run/agent.pid)" = "$pid" ]
    skein_on hv1 status >/dev/null
}
check "the mesh port is open to strangers" reaches hv3 10.77.0.1 7440
check "garbage at the mesh port harms nothing" strangers
check "hv1 and hv2 still agree on a planner" eval \
    'wait_until 10 has_planner hv1 && [ "$(planner_seen_by hv1)" = "$(planner_seen_by hv2)" ]'

# ---- certificates that are missing or foreign, keys that are unknown
agent_check() { # FILE: skein-agent -n
    lab exec hv2 skein-agent -n -c "$1"
}
lab exec hv2 sh -c 'sed "s,/etc/pki/skein,/nowhere," /etc/skein/agent.conf >/etc/skein/nowhere.conf
    { cat /etc/skein/agent.conf; echo "mseh = 1;"; } >/etc/skein/typo.conf'
check "missing certificates are one clear line" eval 'fails agent_check /etc/skein/nowhere.conf && { agent_check /etc/skein/nowhere.conf 2>&1 || true; } | grep >/dev/null /nowhere/'
check "an unknown key is named, with a suggestion" eval '{ agent_check /etc/skein/typo.conf 2>&1 || true; } | grep >/dev/null "did you mean \"mesh\""'
check "a good configuration is good" agent_check /etc/skein/agent.conf
check "no sanitizer complains" sanitizer_is_silent
