#!/usr/bin/env bash
# The audit binds: its heads are signed, cosigned, committed and anchored; a move is proven; an export is verified on a
# machine that has only it and the machines' root, and whatever was altered in it is found; a host that goes back to an
# older log is found out by the voters. And events arrive as they happen.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/lab.sh"
. "$(dirname "$0")/lib/mesh.sh"

agents_of_own 4 'audit = { anchors = [ "file:/var/lib/skein/anchors" ]; checkpoint_s = 1; };'
lab guest add prey --host hv1 --memory 64
check "all agents see the guest" wait_until 20 eval 'guests_seen 1 hv1 && guests_seen 1 hv2'

# What an auditor has: the machines' root, and what was exported.
mkdir "$WORK/auditor"
cp "${SKEIN_LAB_ROOT:-/var/lib/skein-lab}/$SKEIN_LAB/pki/machines.pem" "$WORK/auditor/"
SKEIN=${SKEIN_BUILD:-$REPO/build}/bin/skein
verify() { (cd "$WORK/auditor" && "$SKEIN" audit verify --roots machines.pem "$@"); }
export_of() { skein_on "$1" audit export >"$WORK/auditor/$1"; }

# ---- events
lab exec hv3 timeout 60 skein events -f -o json >"$WORK/events" 2>/dev/null &
move() { # shellcheck disable=SC2046
    ask_for prey "$1" hv1 && wait_until 10 plan_waits hv1 &&
        skein_on hv1 plan approve "$(cat "$WORK/plan")" --yes --wait=60 $(as approver)
}
check "a move from hv1 to hv2" move hv2
saw() { jq -se --arg e "$1" --arg h "$2" 'any(.[]; .record.event == $e and .host == $h)' "$WORK/events" >/dev/null; }
check "events -f on hv3 shows the source's move" wait_until 10 saw move.succeeded hv1
check "and the planner's approval" wait_until 10 eval 'jq -se "any(.[]; .record.event == \"plan.approved\")" "$WORK/events" >/dev/null'
check "events lists what was" prints move.succeeded skein_on hv1 events --limit 50

# ---- checkpoints
cosigned() { export_of "$1" && [ "$(verify -o json "$1" | jq '.logs[0].cosigned_by | length')" -ge 1 ]; }
check "hv1's head is cosigned by another voter" wait_until 20 cosigned hv1
check "so is hv2's" wait_until 20 cosigned hv2
committed() { skein_on hv1 audit export | sed -n 1p | jq -e --arg h "$1" 'any(.heads[]; .body.host == $h)' >/dev/null; }
check "hv2's head is in the replicated state" wait_until 20 committed hv2
check "checkpoints are anchored in a file" eval 'lab exec hv1 cat /var/lib/skein/anchors >"$WORK/auditor/anchors" && [ -s "$WORK/auditor/anchors" ]'
check "the agent finds its own log intact" prints intact skein_on hv1 audit verify
check "an auditor finds the exports intact" eval 'export_of hv1 && export_of hv2 && verify --cosigned 1 --anchors anchors hv1 hv2'

# ---- proofs
plan=$(cat "$WORK/plan")
check "the move is proven" eval 'skein_on hv1 audit prove --plan "$plan" >"$WORK/auditor/proof" && grep -q move.succeeded "$WORK/auditor/proof" && verify proof'
check "an altered proof is none" eval 'sed s/move.succeeded/move.forgotten/ "$WORK/auditor/proof" >"$WORK/auditor/forged" && fails verify forged'
kept=$(head -n 1 "$WORK/auditor/anchors" | jq .body.size)
check "the log goes on from an anchored checkpoint" eval 'skein_on hv1 audit prove --from $kept >"$WORK/auditor/goes-on" && verify --anchors anchors goes-on'

# ---- tampering
tampered() { # SED-SCRIPT: on a copy of hv1's export
    sed "$1" "$WORK/auditor/hv1" >"$WORK/auditor/tampered"
    ! cmp -s "$WORK/auditor/hv1" "$WORK/auditor/tampered" && exits 1 verify tampered
}
records=$(wc -l <"$WORK/auditor/hv1")
check "a record altered at the beginning is found" tampered '2s/"host":"hv1"/"host":"hv2"/'
check "a record altered in the middle is found" tampered "$((records / 2))s/\"/'/"
check "a record removed is found" tampered "$((records / 2))d"
check "the last record removed is found" tampered '$d'
check "the first line removed is found" tampered 1d
check "a record put in is found" tampered '3p'
check "two records exchanged are found" tampered '2{h;d};3{G}'
check "a checkpoint altered is found" tampered '1s/"size":/"size":1/'

# ---- a host that goes back
seen_again() { wait_until 20 cosigned hv4; }
check "a move to hv4, which does not vote" move hv4
check "hv4's head is cosigned" seen_again
lab agent stop hv4
lab exec hv4 cp /var/lib/skein/skein.db /tmp/older.db
lab agent start hv4
wait_until 20 eval 'guests_seen 1 hv1 && guests_seen 1 hv4'
check "a move away from hv4" move hv1
check "hv4's longer log is cosigned" seen_again
lab agent stop hv4
lab exec hv4 sh -c 'rm -f /var/lib/skein/skein.db*; cp /tmp/older.db /var/lib/skein/skein.db'
lab agent start hv4
wait_until 20 eval 'guests_seen 1 hv1 && guests_seen 1 hv4'
conflict_is_audited() { audited hv1 audit.conflict hv4 || audited hv2 audit.conflict hv4 || audited hv3 audit.conflict hv4; }
check "voters notice that hv4's log went back" wait_until 40 conflict_is_audited
check "hv4 notices too" wait_until 20 audited hv4 audit.conflict
check "no sanitizer complains" sanitizer_is_silent
