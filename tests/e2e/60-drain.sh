#!/usr/bin/env bash
# A host is drained and given back: what cannot move is said first and holds up nothing, the drain outlives its planner,
# a freeze takes hold, and what left comes home.
# shellcheck disable=SC2046,SC2034 # `as` prints several words on purpose; lib/mesh.sh reads PEOPLE
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/lab.sh"
. "$(dirname "$0")/lib/mesh.sh"

# 8 vCPUs a host, whatever machine this is: big1 finds no room elsewhere.
cores=$(nproc)
printf '%s\n' "policies = { active = [ ]; evaluate_interval_s = 1; };" \
    "capacity = { cpu_overcommit = $(awk -v n="$cores" 'BEGIN { printf "%.3f", 8 / n + 0.0005 }'); };" \
    "limits = { total = 4; inflow_per_host = 2; outflow_per_host = 4; };" >"$WORK/agent.extra"
lab_of_own 3 --agents --agent-config "$WORK/agent.extra"
PEOPLE=${SKEIN_LAB_ROOT:-/var/lib/skein-lab}/$SKEIN_LAB/people
at_exit keep_logs
wait_until 20 has_planner hv1
smalls=(web1 web2 web3 web4)
for guest in "${smalls[@]}"; do
    lab guest add "$guest" --host hv1 --memory 64 --dirty 2 --wset 8
done
lab guest add big1 --host hv1 --memory 64 --vcpus 4
lab guest add fill2 --host hv2 --memory 64 --vcpus 5
lab guest add fill3 --host hv3 --memory 64 --vcpus 5
check "all agents see all guests" wait_until 30 eval 'guests_seen 7 hv1 && guests_seen 7 hv2 && guests_seen 7 hv3'

host_state() { skein_on "$2" hosts -o json | jq -r --arg h "$1" '.hosts[] | select(.name == $h) | .state'; }
host_is() { [ "$(host_state "$1" "$3")" = "$2" ]; }
all_on() { # HOST GUEST...
    local host=$1 guest
    shift
    for guest in "$@"; do guest_is "$guest" "$host" || return 1; done
}
none_on_hv1() { for guest in "${smalls[@]}"; do guest_is "$guest" hv2 || guest_is "$guest" hv3 || return 1; done; }
approve_newest() { # the plan that waits, seen from hv2; its id in $plan
    wait_until 40 plan_waits hv2 || return 1
    plan=$(cat "$WORK/plan")
    skein_on hv2 plan approve "$plan" --yes "$@" $(as approver)
}

# ---- said before anything is signed
skein_on hv2 drain --dry-run hv1 >"$WORK/preview" 2>&1 || true
check "a dry run says that four can move and one cannot" grep -q "^4 can move.*1 cannot" "$WORK/preview"
check "and which one, and why" grep -qE "big1 on hv1: [A-Z_]+: " "$WORK/preview"
check "and orders nothing" host_is hv1 up hv2
check "a viewer cannot drain" fails skein_on hv2 drain hv1 $(as viewer)
check "nor an approver" fails skein_on hv2 drain hv1 $(as approver)
check "a host that is not there is refused" fails skein_on hv2 drain hv9 $(as operator)

# ---- cordon and uncordon
check "an operator cordons hv3" skein_on hv2 cordon hv3 $(as operator)
check "every agent says so" wait_until 10 eval 'host_is hv3 cordoned hv1 && host_is hv3 cordoned hv2 && host_is hv3 cordoned hv3'
check "nothing comes to it" fails skein_on hv2 migrate web1 hv3 $(as operator)
check "uncordoned it takes again" skein_on hv2 uncordon hv3 $(as operator)
wait_until 10 host_is hv3 up hv2

# ---- the drain, its planner's death, its approval
check "the drain returns when there is a plan to approve" skein_on hv2 drain hv1 $(as operator)
check "hv1 is draining" wait_until 10 host_is hv1 draining hv2
planner=$(planner_seen_by hv2)
lab kill "$planner" agent
other=hv2
[ "$planner" != hv2 ] || other=hv3
check "another planner is elected" wait_until 30 planner_other_than "$planner" "$other"
check "the drain has outlived its planner" wait_until 20 host_is hv1 draining "$other"
lab start "$planner" agent
check "all agents are linked again" wait_until 30 eval 'guests_seen 7 hv1 && guests_seen 7 hv2 && guests_seen 7 hv3'

# ---- frozen: approved, and yet nothing begins
check "a freeze is ordered" skein_on hv2 freeze --for 5m --reason "quarter's end" $(as operator)
check "status says by whom" prints "SKEIN_FROZEN: frozen by operator" skein_on hv2 status
check "the plan is approved all the same" approve_newest --rollback
plan=$(cat "$WORK/plan")
sleep 6
check "nothing has moved while frozen" all_on hv1 "${smalls[@]}"
check "somebody else does not end the freeze" fails skein_on hv2 unfreeze $(as approver)
check "its owner does" skein_on hv2 unfreeze $(as operator)
check "now the four move, and big1 holds up nothing" wait_until 90 none_on_hv1
check "big1 stays where it is" guest_is big1 hv1
for guest in "${smalls[@]}"; do
    check "$guest was started once and beats" beats_on "$guest"
done
skein_on hv2 drain --wait=60 hv1 $(as operator) >"$WORK/drain" 2>&1 && rc=0 || rc=$?
check "--wait says that one cannot move, with status 1" eval '[ $rc = 1 ] && grep -q "1 VM cannot move for now: big1" "$WORK/drain"'
check "with --fallback skip the drain is done" skein_on hv2 drain --fallback skip --wait=60 hv1 $(as operator)
check "the report names approver, hosts and the virsh command" eval \
    'skein_on hv2 report "$plan" -o json >"$WORK/report" &&
     jq -e ".moves[0] | .approvers == \"approver\" and .from == \"hv1\" and (.virsh | contains(\"--p2p --tls\"))" "$WORK/report"'
check "and there is a page of it" eval 'skein_on hv2 report "$plan" -o html | has "<h1>Plan $plan"'

# ---- home again
check "hv1 is restored" skein_on hv2 restore hv1 $(as operator)
check "what left comes home by a plan" approve_newest --wait=90
check "all are home" wait_until 60 all_on hv1 "${smalls[@]}"
home() { skein_on hv2 plan list -o json | jq -e '.plans[0] | .class == "restore" and .state == "SUCCEEDED"' >/dev/null; }
check "which was of class restore" home

# ---- held
# (between two hosts' words, one that has just moved is on neither)
check "web1 is held" wait_until 10 skein_on hv2 hold --for 10m --reason "vendor looks at it" web1 $(as operator)
check "which the snapshot says" eval \
    'skein_on hv2 vms -o json | jq -e ".vms[] | select(.name == \"web1\") | .hold_until != null" >/dev/null'
check "and is taken back" skein_on hv2 hold --release web1 $(as operator)
for host in hv1 hv2 hv3; do
    check "the audit of $host is intact" skein_on "$host" audit verify
done
check "who drained is in the audit" eval 'audited hv1 host.drain operator || audited hv2 host.drain operator || audited hv3 host.drain operator'
check "no sanitizer complains" sanitizer_is_silent
