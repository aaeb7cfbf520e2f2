#!/usr/bin/env bash
# Moves on real hosts, one after the other, each met by a fault at a chosen state of its journal: an agent or a libvirtd
# killed or stopped, a link cut, a host's power lost. Nothing may be lost or doubled or left over, and every move comes
# to a definite end.
#
# usage: 60-faults.sh [--moves N] [--seed S]      (7 moves of seed 1; 200 in the nightly form, of a seed that it prints)
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/lab.sh"
. "$(dirname "$0")/lib/mesh.sh"
. "$(dirname "$0")/lib/fault.sh"

moves=7 seed=1
[ "${SKEIN_TEST_FORM-}" != nightly ] || moves=200 seed=$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')
while [ $# -gt 0 ]; do
    case $1 in
    --moves) moves=$2 ;;
    --seed) seed=$2 ;;
    *) echo "60-faults.sh: unknown argument '$1'" >&2 && exit 2 ;;
    esac
    shift 2
done
note "again: ${0##*/} --moves $moves --seed $seed"
RANDOM=$seed

END_WITHIN=60      # s after the fault's end ...
END_WITHIN_DEAD=90 # ... or, where the destination never comes back, after its death
STATES=(received reserved started running ending finished ended)
FAULTS=(source-agent destination-agent source-libvirtd destination-libvirtd source-link destination-link
    source-link-mesh destination-link-migration destination-hang destination-power destination-power-silent
    destination-power-dead source-power)
WAYS=("" --xbzrle "--parallel 2" --no-auto-converge "--xbzrle --no-auto-converge") # one after the other
RESULTS=$WORK/results
: >"$RESULTS"

shuffle() { # ARRAY
    local -n of=$1
    local i k swap
    for ((i = ${#of[@]} - 1; i > 0; i--)); do
        k=$((RANDOM % (i + 1)))
        swap=${of[i]} of[i]=${of[k]} of[k]=$swap
    done
}

all_ready() {
    local host
    for host in hv1 hv2 hv3; do
        skein_on "$host" hosts -o json | jq -e --arg h "$host" \
            'all(.hosts[]; (.name == $h or .linked) and .state == "up" and .age_seconds < 6)' >/dev/null || return 1
    done
    skein_on "$third" vms -o json | jq -e --arg g "$guest" --arg h "$from" \
        'any(.vms[]; .name == $g and .host == $h and .state == "running")' >/dev/null && has_planner "$third"
}

# ask OPTIONS: the guest's move from $from to $to is asked for, in that way, and approved; sets plan
ask() {
    # shellcheck disable=SC2046,SC2086
    {
        ask_for "$guest" "$to" "$third" $1 >/dev/null 2>&1 || return 1
        wait_until 20 plan_waits "$third" || return 1
        plan=$(cat "$WORK/plan")
        skein_on "$third" plan approve "$plan" --yes $(as approver) >/dev/null 2>&1
    }
}

copying() { virsh_on "$from" domjobinfo "$guest" 2>/dev/null | has "Data processed"; }

pause_ms() { sleep "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))"; }

# at_state STATE: waits until the move is there; false when it never was (it ended, or was refused).
at_state() {
    local i
    for ((i = 0; i < 300; i++)); do
        case $1 in
        running | ending) ! copying || break ;;
        reserved) ! stopped "$to" || return 0 ;;
        *) ! stopped "$from" || return 0 ;;
        esac
        sleep 0.1
    done
    ((i < 300)) || return 1
    pause_ms $((RANDOM % 1500))
}

arm() {
    case $1 in
    received) stop_at "$from" source RECEIVED ;;
    reserved) stop_at "$to" destination RESERVED ;;
    started) stop_at "$from" source STARTED ;;
    finished) stop_at "$from" source FINISHED ;;
    ended) stop_at "$from" source DONE ;;
    running) lab link "$from" 60mbit --net migration ;;
    ending) lab link "$from" 200mbit --net migration ;;
    esac
}

# judge_guest FAULT: sets verdict and where. A guest whose host lost its power is shut off there, and nowhere else.
judge_guest() {
    local rows n
    rows=$(rows_of "$guest")
    n=$(grep -c . <<<"$rows" || :)
    where=${rows%% *}
    verdict=well
    if ((n != 1)) || [ "$where" = - ]; then
        verdict=$( ((n > 1)) && echo orphaned || echo lost)
        [ "$(grep -c running <<<"$rows")" -lt 2 ] || verdict=doubled
    elif ! grep -q running <<<"$rows" && ! { [[ $1 == *power* ]] && [ "$where" = "$hurt" ] && grep -q "shut off" <<<"$rows"; }; then
        verdict=stopped
    elif (($(heartbeat "$guest" overlaps) != 0)); then
        verdict=doubled
    fi
    rows=${rows//$'\n'/, }
    [ "$verdict" = well ] || note "$guest: $rows"
}

# The planned destination, or home where the destination stays dead; home also when the guest died with its host.
intended() {
    [ "$where" = "$to" ] || [ "$1" = destination-power-dead ] || [ "$1" = source-power ]
}

# tell_facts FAULT: of the move that has ended, for the checker of invariants. A power cut is a person's act to it.
tell_facts() {
    act_facts "$plan" "$uuid" "$from" "$to" hv1 hv2 hv3 >"$WORK/acts"
    {
        [[ $1 != *power* ]] || echo "{\"fact\": \"operator\", \"vm\": \"$uuid\"}"
        sed '/^"HERE"$/,$d' "$WORK/acts"
        domain_facts "$guest" "$uuid" hv1 hv2 hv3
        sed '1,/^"HERE"$/d' "$WORK/acts"
        echo '{"fact": "check"}'
    } >>"$WORK/facts"
}

one_move() { # NUMBER STATE FAULT
    local n=$1 state=$2 fault=$3 met=yes began took action
    from=$(rows_of "$guest" | cut -d' ' -f1)
    to=$([ $((RANDOM % 2)) = 0 ] && echo hv1 || echo hv2)
    [ "$to" != "$from" ] || to=hv3
    for third in hv1 hv2 hv3; do [ "$third" = "$from" ] || [ "$third" = "$to" ] || break; done
    wait_until 60 all_ready || note "move $n: the fleet is not ready"
    hurt=
    arm "$state"
    ask "${WAYS[n % ${#WAYS[@]}]}" || {
        note "move $n: there was no plan"
        echo "$n $state $fault no-plan - no 0 no" >>"$RESULTS"
        return 0
    }
    at_state "$state" || met=no
    fault_begin "$fault" "$from" "$to"
    go_on "$from"
    go_on "$to"
    began=$(date +%s%3N)
    if [ "$fault" != destination-power-dead ]; then
        pause_ms $((2000 + RANDOM % 6000))
        fault_end "$fault"
        began=$(date +%s%3N)
    fi
    wait_until $((END_WITHIN + 60)) plan_ended "$plan" "$third" || note "move $n: plan $plan does not end"
    took=$(($(date +%s%3N) - began))
    [ "$fault" != destination-power-dead ] || fault_end "$fault"
    action=$(skein_on "$third" plan show "$plan" -o json | jq -r '.results[-1] | "\(.state): \(.message // "")"')
    lab link "$from" up
    lab link "$to" up
    wait_until 20 eval 'judge_guest "$fault" && [ "$verdict" = well ]' || :
    judge_guest "$fault"
    tell_facts "$fault"
    echo "$n $state $fault $verdict $where $(intended "$fault" && echo yes || echo no) $took $met" >>"$RESULTS"
    note "move $n: $from -> $to, $fault at $state (met: $met): $verdict on $where after $took ms; ${action}"
    [ "$(rows_of settler)" = "hv3 running" ] || virsh_on hv3 start settler >/dev/null
    if [ "$verdict" = well ] && ! guest_is "$guest" "$where"; then
        virsh_on "$where" start "$guest" >/dev/null
        echo "{\"fact\": \"operator\", \"vm\": \"$uuid\"}" >>"$WORK/facts"
    fi
}

REAL=$(readlink -f "${SKEIN_BUILD:-$REPO/build}")
hooked_agents
export SKEIN_BUILD=$WORK/hooked
agents_of_own 3
guest=nomad third=hv3
lab guest add "$guest" --host hv1 --memory 96 --dirty 2 --wset 48
lab guest add settler --host hv3 --memory 64
wait_until 30 guests_seen 2 hv3
uuid=$(virsh_on hv1 domuuid "$guest" | tr -d '[:space:]')
domain_facts "$guest" "$uuid" hv1 hv2 hv3 >"$WORK/facts"

order=()
for ((n = 1; n <= moves; n++)); do
    (((n - 1) % ${#STATES[@]})) || shuffle STATES
    (((n - 1) % ${#FAULTS[@]})) || shuffle FAULTS
    order+=("${STATES[(n - 1) % ${#STATES[@]}]} ${FAULTS[(n - 1) % ${#FAULTS[@]}]}")
done
n=0
for pair in "${order[@]}"; do
    n=$((n + 1))
    # shellcheck disable=SC2086
    one_move $n $pair
    grep -q "^$n .* well " "$RESULTS" || break # what is broken must be looked at first
done

count() { awk "$1 { n++ } END { print n + 0 }" "$RESULTS"; }
done_moves=$(count 1)
check "$moves moves were made" test "$done_moves" = "$moves"
for bad in lost doubled orphaned stopped no-plan; do
    check "0 $bad" test "$(count "\$4 == \"$bad\"")" = 0
done
late=$(count "\$7 > (\$3 ~ /dead/ ? ${END_WITHIN_DEAD}000 : ${END_WITHIN}000)")
check "every action ended within $END_WITHIN s after the fault ($END_WITHIN_DEAD s where it does not end)" test "$late" = 0
well=$(count '$6 == "yes"')
check "at least 90 % ended as intended ($well of $moves)" test $((well * 10)) -ge $((moves * 9))
if ((moves >= 4 * ${#STATES[@]})); then # of each state as many moves, and one that came too late proves nothing
    unmet='' least=$((moves >= 20 * ${#STATES[@]} ? 10 : 1))
    for state in "${STATES[@]}"; do
        (($(count "\$2 == \"$state\" && \$8 == \"yes\"") >= least)) || unmet="$unmet $state"
    done
    check "each state of the journal was met by $least faults${unmet:+, but not:$unmet}" test -z "$unmet"
fi
check "the checker of invariants finds nothing broken" "$REAL/tests/invariants" "$WORK/facts"
for host in hv1 hv2 hv3; do
    check "the audit of $host is intact" skein_on "$host" audit verify
done
