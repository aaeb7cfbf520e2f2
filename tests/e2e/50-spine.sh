#!/usr/bin/env bash
# The whole path on three real hosts: a host gets hot, a policy proposes, a signature opens the gate, the agents move the
# guests, live and over TLS; and what must not happen does not.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/lab.sh"
. "$(dirname "$0")/lib/mesh.sh"

CANARY=sentinel-of-guest-memory-7f3a
agents_of_own 3
for guest in web1 web2 "$CANARY"; do
    lab guest add "$guest" --host hv1 --memory 64 --dirty 4 --wset 8
done
lab guest add mail1 --host hv2 --memory 64

check "all agents see all guests" wait_until 20 eval 'guests_seen 4 hv1 && guests_seen 4 hv2 && guests_seen 4 hv3'
check "the guests of a quiet fleet stay" no_plan_waits hv1
check "status says why nothing happens" prints "no host is hot" skein_on hv1 status

# ---- inlet hot: moving does not help (the inlet first and the processor last, so that no moment looks like a hot host)
lab heat hv1 40 --inlet
lab heat hv1 80
says_no_help() { skein_on hv1 status | grep >/dev/null "moving won't help"; }
check "an inlet-hot host moves nothing and says why" wait_until 15 says_no_help
check "and no plan waits" no_plan_waits hv1
lab heat hv1 45
knows() { # FILTER: what the planner knows of hv1
    skein_on "$(planner_seen_by hv1)" hosts -o json | jq -e ".hosts[] | select(.name == \"hv1\") | $1" >/dev/null
}
wait_until 20 knows '.temperature.cpu_celsius == 45'
lab heat hv1 24 --inlet

# ---- sensors that lie are no reason
for value in 900 0 -3 garbage gone; do
    lab heat hv1 45
    wait_until 20 knows '.temperature.cpu_celsius == 45'
    lab heat hv1 "$value"
    wait_until 20 knows '.temperature.cpu_celsius == null'
    sleep 2 # two evaluations
    check "a sensor that says $value moves nothing" no_plan_waits hv1
done
lab heat hv1 auto
lab heat hv1 auto --inlet

# ---- the heat
lab heat --model on --tau 2
lab heat hv1 x2.5
began=$(date +%s%N)
check "a hot host brings a plan" wait_until 25 plan_waits hv1
plan=$(cat "$WORK/plan" 2>/dev/null || echo none)
proposed=$(date +%s%N)
check "every agent shows the same plan" eval \
    '[ "$(skein_on hv2 plan show "$plan" -o json | jq -r .digest)" = "$(skein_on hv3 plan show "$plan" -o json | jq -r .digest)" ]'

# shellcheck disable=SC2046
{
    check "a viewer cannot approve" fails skein_on hv1 plan approve "$plan" --yes $(as viewer)
    check "an operator cannot approve" fails skein_on hv1 plan approve "$plan" --yes $(as operator)
}
check "the refusal is in the audit" audited hv1 approval.refused viewer
sleep 2
check "nothing has moved without approval" eval 'guest_is web1 hv1 && guest_is web2 hv1 && guest_is "$CANARY" hv1'

# ---- approved, moved, verified
listen() { # FILE: to everything on hv1's wires
    lab exec hv1 sh -c 'tcpdump -i any -w "$1" -U tcp >/dev/null 2>&1 & echo $! >/run/tcpdump.pid; sleep 0.5' - "$1"
}
hush() { lab exec hv1 sh -c 'sleep 0.5; kill $(cat /run/tcpdump.pid)'; }
WIRE=$(mktemp -d /tmp/skein-wire-XXXXXX)
at_exit rm -rf "$WIRE"
listen "$WIRE/plan.pcap"
approved=$(date +%s%N)
# shellcheck disable=SC2046
check "an approver's signature opens the gate, and the plan succeeds" \
    skein_on hv1 plan approve "$plan" --yes --wait=60 $(as approver)
ended=$(date +%s%N)
seconds=$(((proposed - began + ended - approved) / 1000000000))
check "from heat to verified move in at most 30 s ($seconds s)" test "$seconds" -le 30
hush

skein_on hv1 plan show "$plan" -o json >"$WORK/plan.json" || echo '{}' >"$WORK/plan.json"
moved=$(jq -r '.body.steps[]?.actions[]?.vm' "$WORK/plan.json")
check "something moved" test -n "$moved"
undefined_on() { # HOST GUEST
    virsh_on "$1" list --all --name >"$WORK/defined" || return 1
    exits 1 grep -qx -- "$2" "$WORK/defined"
}
for vm in $moved; do
    to=$(jq -r --arg v "$vm" '.body.steps[].actions[] | select(.vm == $v) | .to' "$WORK/plan.json")
    check "$vm runs on $to only" guest_is "$vm" "$to"
    check "$vm is not defined on hv1 any more" undefined_on hv1 "$vm"
    check "$vm is persistent on $to" eval 'virsh_on "$to" dominfo "$vm" | grep >/dev/null "Persistent: *yes"'
    check "$vm was started once and beats" beats_on "$vm"
    downtime=$(jq -r --arg v "$vm" '[.body.steps[].actions[] | select(.vm == $v) | .id][0] as $a
        | .results[] | select(.action == $a) | .downtime_ms' "$WORK/plan.json")
    gap=$(heartbeat "$vm" longest_gap_ms)
    check "$vm stood still no longer than reported + 1 s, nor 2 s ($gap ms, reported $downtime ms)" \
        eval '((gap <= downtime + 1000 && gap < 2000))'
done
check "no guest's memory is readable on the wire" exits 1 grep -qa "$CANARY" "$WIRE/plan.pcap"
check "the host cools because the guests left" wait_until 40 cooler hv1 cpu 75
check "the report names guest, hosts and approver" eval \
    'skein_on hv1 report "$plan" >"$WORK/report" && grep -q approver "$WORK/report" && grep -q "hv1" "$WORK/report"'
for host in hv1 hv2 hv3; do
    check "the audit of $host is intact" skein_on "$host" audit verify
done
check "who approved is in the audit" audited "$(planner_seen_by hv1)" plan.approved approver
check "the move is in the source's audit" audited hv1 move.succeeded

# ---- a move by name, there and back, and its gate
# shellcheck disable=SC2046
{
    check "an operator asks for a move" ask_for mail1 hv3 hv3
    check "which waits for approval" wait_until 10 plan_waits hv3
    plan=$(cat "$WORK/plan")
    check "and is carried out once approved" skein_on hv3 plan approve "$plan" --yes --wait=60 $(as approver)
}
check "mail1 runs on hv3" guest_is mail1 hv3

# ---- what the wire would show without TLS: the check above can fail
listen "$WIRE/plain.pcap"
where=$(lab guest list | awk -v g="$CANARY" '$1 == g { print $2 }')
[ "$where" != hv1 ] || where=
check "a guest moves by hand, without TLS" virsh_on "${where:-hv1}" migrate "$CANARY" \
    "qemu+tls://$([ -n "$where" ] && echo hv1 || echo hv2)/system" --live --p2p --persistent --undefinesource \
    --migrateuri "tcp://10.78.0.$([ -n "$where" ] && echo 1 || echo 2)"
hush
check "and its memory is readable on the wire" grep -qa "$CANARY" "$WIRE/plain.pcap"

# ---- libvirt trusts machines only
viewer_reaches() {
    lab exec hv2 sh -c '
        mkdir -p /run/viewer && cp "$1/viewer.pem" /run/viewer/clientcert.pem && cp "$1/viewer.key" /run/viewer/clientkey.pem &&
        cp /etc/pki/CA/cacert.pem /run/viewer/ && virsh -c "qemu+tls://hv1/system?pkipath=/run/viewer" list' - "$PEOPLE"
}
check "a viewer's certificate gets nothing from libvirtd" fails viewer_reaches
check "a host's certificate does" lab exec hv2 virsh -c qemu+tls://hv1/system list

# ---- libvirt gone and back
lab kill hv3 libvirtd
sleep 4
lab start hv3 libvirtd
hv3_answers() { skein_on hv1 hosts -o json | jq -e '.hosts[] | select(.name == "hv3") | .age_seconds < 5 and .state == "up"'; }
check "an agent finds its libvirtd again" wait_until 20 hv3_answers

# ---- at rest: what agents need when left alone, the least of three spells of 10 s (what else runs here only adds)
of_agent() { # HOST FILE AWK-PROGRAM
    lab exec "$1" awk "$3" "/proc/$(lab exec "$1" cat /run/agent.pid)/$2"
}
ticks() { of_agent "$1" stat '{ print $14 + $15 }'; }
declare -A least=([hv1]=1000 [hv2]=1000 [hv3]=1000) before
restless() { [ -z "${SKEIN_SANITIZED-}" ] && ((least[hv1] > 10 || least[hv2] > 10 || least[hv3] > 10)); }
spell() {
    local host now
    for host in hv1 hv2 hv3; do before[$host]=$(ticks "$host"); done
    sleep 10
    for host in hv1 hv2 hv3; do
        now=$(($(ticks "$host") - before[$host]))
        ((now >= least[$host])) || least[$host]=$now
    done
}
spell
for _ in 2 3; do ! restless || spell; done
rests() { # HOST; sanitizers take what they take
    local rss
    rss=$(of_agent "$1" status '/VmRSS/ { print $2 }')
    echo "$rss KiB, $((least[$1] / 10)).$((least[$1] % 10)) % of a core"
    [ -n "${SKEIN_SANITIZED-}" ] || ((rss < 25 * 1024 && least[$1] <= 10))
}
for host in hv1 hv2 hv3; do
    note "$host rests: $(rests "$host" || :)"
    check "the agent of $host rests under 25 MiB and 1 % of a core" rests "$host"
done
check "no sanitizer complains" sanitizer_is_silent
