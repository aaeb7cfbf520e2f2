#!/usr/bin/env bash
# What is in the way of a move, and wrong with a host, on real hypervisors: each is provoked, found with its code, and a
# move that it forbids does not happen.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/lab.sh"
. "$(dirname "$0")/lib/mesh.sh"

agents_of_own 3
lab guest add plain --host hv1 --memory 64
lab guest add unlocked --host hv1 --memory 64 --disk network
wait_until 30 guests_seen 2 hv1

# The doctor ends with status 1 when it finds something.
doctor() { skein_on hv1 doctor "$@" -o json || [ $? = 1 ]; }
codes() { doctor "$@" | jq -r '.findings[].code' | sort | tr '\n' ' '; }
finds() { # CODE ARGUMENTS...
    local code=$1 found
    shift
    found=$(codes "$@")
    echo "$found"
    [[ " $found " == *" $code "* ]]
}

check "nothing is in the way of an ordinary guest" prints "nothing is wrong with plain" skein_on hv1 doctor plain hv2
check "a host without a lock manager is told so" finds NO_LOCK_MANAGER
check "and ends with status 1" exits 1 skein_on hv1 doctor
check "a disk without a lock is found" finds NO_DISK_LOCK unlocked hv2
check "with what to do" eval 'doctor unlocked hv2 | jq -e "(.findings | length) > 0 and all(.findings[]; (.remedy | length) > 10)" >/dev/null'
check "a VM that is not there is told so" fails skein_on hv1 doctor nobody hv2
check "one word is not enough" exits 2 skein_on hv1 doctor plain

virsh_on hv1 suspend plain
check "a paused guest is found" finds NOT_RUNNING plain hv2
virsh_on hv1 resume plain

virsh_on hv1 attach-disk plain /var/lib/libvirt/images/own.raw vdb --live --config --subdriver raw >/dev/null 2>&1 ||
    { lab exec hv1 truncate -s 1M /var/lib/libvirt/images/own.raw &&
        virsh_on hv1 attach-disk plain /var/lib/libvirt/images/own.raw vdb --live --config --subdriver raw >/dev/null; }
check "a disk on this host only is found" finds LOCAL_DISK plain hv2
virsh_on hv1 detach-disk plain vdb --live --config >/dev/null
# the guest has no driver that would let the disk go: it stays

lab link hv2 down
check "a destination out of reach is found" finds OUT_OF_REACH plain hv2
lab link hv2 up

# ---- a refused pre-check refuses the move
# The host that was out of reach is a destination again only once it has been heard of.
ask_to_move() { # shellcheck disable=SC2046
    skein_on hv3 migrate unlocked hv2 $(as operator)
}
check "the move can be asked for" wait_until 30 ask_to_move
check "a plan answers" wait_until 15 plan_waits hv3
plan=$(cat "$WORK/plan")
# shellcheck disable=SC2046
skein_on hv3 plan approve "$plan" --yes $(as approver) >/dev/null 2>&1
check "the plan ends" wait_until 60 plan_ended "$plan" hv3
check "because no lock guards the disk" eval 'skein_on hv3 plan show "$plan" -o json |
    jq -e "any(.results[]; .code == \"INCOMPATIBLE\" and (.message | contains(\"no lock guards\")))"'
check "the guest without a lock has not moved" guest_is unlocked hv1
