#!/usr/bin/env bash
# A move that is hard to end, on real hosts: the pause is allowed in steps, up to the move's limit; a link that is cut is
# noticed, and the attempt made again. A quiet guest gets the short pause.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/lab.sh"
. "$(dirname "$0")/lib/mesh.sh"

agents_of_own 3
lab guest add quiet --host hv1 --memory 64 --dirty 1 --wset 8
lab guest add busy --host hv2 --memory 96 --dirty 12 --wset 40
wait_until 30 guests_seen 2 hv3

begin() { # GUEST HOST: sets plan
    # shellcheck disable=SC2046
    {
        ask_for "$1" "$2" hv3
        wait_until 20 plan_waits hv3
        plan=$(cat "$WORK/plan")
        skein_on hv3 plan approve "$plan" --yes $(as approver) >/dev/null
    }
}

# watch SECONDS: until the plan has ended; every phase that was shown goes into $WORK/phases
watch() {
    local end=$((SECONDS + $1)) doc
    : >"$WORK/phases"
    while ((SECONDS < end)); do
        doc=$(skein_on hv3 plan show "$plan" -o json)
        jq -r '.progress // {} | .[].phase // empty' <<<"$doc" >>"$WORK/phases"
        [[ $(jq -r .state <<<"$doc") =~ ^(SUCCEEDED|FAILED|CANCELLED)$ ]] && return 0
        sleep 0.3
    done
    return 1
}

highest_pause() { sed -n 's/.*pause up to \([0-9]*\) ms.*/\1/p' "$WORK/phases" | sort -n | tail -n 1; }
limit() { jq -r '.body.steps[0].actions[0].parameters.downtime_ms' "$WORK/plan.json"; }
result() { jq -r ".results[-1].$1 // empty" "$WORK/plan.json"; }
look() { skein_on hv3 plan show "$plan" -o json >"$WORK/plan.json"; }

# ---- quiet
lab link hv1 60mbit --net migration
begin quiet hv3
check "a quiet guest moves" watch 60
look
check "with the first, short pause ($(highest_pause) of $(limit) ms)" test "$(highest_pause)" -lt "$(limit)"
check "and stands still for less than the limit ($(result downtime_ms) ms)" test "$(result downtime_ms)" -le "$(limit)"
lab link hv1 up

# ---- busy: it writes as fast as the link carries
lab link hv2 90mbit --net migration
begin busy hv1
check "a guest that writes as fast as the link carries moves" watch 150
look
check "it succeeded" test "$(jq -r .state "$WORK/plan.json")" = SUCCEEDED
check "the pause was allowed in steps ($(sort -u "$WORK/phases" | grep -c pause) of them, up to $(highest_pause) ms)" \
    test "$(sort -u "$WORK/phases" | grep -c pause)" -gt 1
check "and never beyond the limit of $(limit) ms" test "$(highest_pause)" -le "$(limit)"
note "longest time between two beats, throttled guest: $(heartbeat busy longest_gap_ms) ms" # it runs a hundredth of the time then
check "and libvirt measured a pause within a second of it ($(result downtime_ms) ms)" \
    test "$(result downtime_ms)" -le $(($(limit) + 1000))
check "it lives, in one copy" beats_on busy
lab link hv2 up

# ---- the link is cut in the middle, without a word
lab link hv1 30mbit --net migration
begin busy hv2
copying() { virsh_on hv1 domjobinfo busy 2>/dev/null | grep "Data processed" >/dev/null; }
check "the next move is under way" wait_until 30 copying
lab link hv2 down --net migration
tried_again() { audited hv1 move.undone "nothing was sent for"; }
check "a silent link ends the attempt, with the reason" wait_until 60 tried_again
lab link hv2 up --net migration
lab link hv1 up
check "and the next attempt moves the guest" watch 120
look
check "it succeeded at the second attempt" test "$(jq -r .state "$WORK/plan.json")" = SUCCEEDED
check "busy runs on hv2 only" guest_is busy hv2
check "it lives, in one copy, started once" beats_on busy
