#!/usr/bin/env bash
# Ways of migrating on real hosts: post-copy (switched, broken, recovered), xbzrle, several connections, copied disks,
# offline; asked for by a person, signed, in plan, report and virsh command; and what does not go together is refused.
set -eu
# shellcheck source=tests/e2e/lib/lib.sh
. "$(dirname "$0")/lib/lib.sh"
# shellcheck source=tests/e2e/lib/lab.sh
. "$(dirname "$0")/lib/lab.sh"
# shellcheck source=tests/e2e/lib/mesh.sh
. "$(dirname "$0")/lib/mesh.sh"

firewall=off
if unshare --net nft add table inet trial 2>/dev/null; then
    firewall=nft
else
    note "nftables does not work here: without a firewall"
fi
agents_of_own 3 "firewall = \"$firewall\";"
lab guest add hot --host hv1 --memory 96 --dirty 60 --wset 60 --meta postcopy_allowed=yes
lab guest add plain --host hv1 --memory 64
wait_until 30 guests_seen 2 hv3

# ask GUEST HOST OPTIONS...: a plan, approved; $WORK/plan names it
ask() {
    # shellcheck disable=SC2046
    {
        ask_for "$1" "$2" hv3 "${@:3}" || return 1
        wait_until 20 plan_waits hv3 || return 1
        skein_on hv3 plan approve "$(cat "$WORK/plan")" --yes $(as approver) >/dev/null 2>&1
    }
}
ended() {
    local plan
    plan=$(cat "$WORK/plan")
    wait_until "$1" plan_ended "$plan" hv3
    skein_on hv3 plan show "$plan" -o json >"$WORK/plan.json"
    skein_on hv3 report "$plan" -o json >"$WORK/report.json"
    [ "$(jq -r .state "$WORK/plan.json")" = SUCCEEDED ] || { jq -c .results "$WORK/plan.json"; return 1; }
}
lets_nobody_in() {
    lab exec "$1" nft list set inet skein sources4 >"$WORK/sources" || return 1
    lacks elements "$WORK/sources"
}
reported() { jq -e "$1" "$WORK/report.json" >/dev/null || { jq -c .moves "$WORK/report.json"; return 1; }; }

# ---- a firewall: all that follows passes through it, but nothing by hand
if [ $firewall = nft ]; then
    by_hand() { migrate_by_virsh plain hv1 hv2 >"$WORK/by-hand" 2>&1; }
    check "a move by hand is refused" fails by_hand
    check "by the firewall" grep -qi "connect.*refused" "$WORK/by-hand"
    check "and plain is where it was" guest_is plain hv1
    check "hv2 lets nobody in" lets_nobody_in hv2
fi

# ---- what does not go together
# shellcheck disable=SC2046
refused() { exits 2 skein_on hv3 migrate plain hv2 "$@" $(as operator); }
check "post-copy over several connections is refused" refused --mode postcopy --parallel 4
check "xbzrle over several connections is refused" refused --xbzrle --parallel 4
check "disks without copying are refused" refused --disks vda

# ---- post-copy: the guest writes faster than the link carries, and is not slowed
lab link hv1 100mbit --net migration
check "post-copy is asked for" ask hot hv2 --mode postcopy --no-auto-converge
check "a guest that writes faster than the link carries moves" ended 120
check "because it was switched" audited hv1 move.postcopy hot
lab link hv1 up
check "hot runs on hv2" guest_is hot hv2
if [ $firewall = nft ]; then
    check "which lets its source come back, to recover" eval 'lab exec hv2 nft list set inet skein sources4 | has 10.78.0.1'
fi
check "it lives, in one copy" beats_on hot
check "the report says so" reported '.moves[0] | .mode == "postcopy" and (.virsh | contains("--postcopy"))'
note "stood still for $(jq '.moves[0].downtime_ms' "$WORK/report.json") ms"

# ---- one that does not allow it
check "post-copy of a guest that does not allow it" ask plain hv2 --mode postcopy-after-precopy
check "is refused by its host" eval 'wait_until 60 plan_ended "$(cat "$WORK/plan")" hv3 && skein_on hv3 plan show "$(cat "$WORK/plan")" -o json |
    jq -e "any(.results[]; .code == \"DENIED\" and (.message | contains(\"does not allow post-copy\")))" >/dev/null'
check "and plain is where it was" guest_is plain hv1

# ---- the link is cut after the switch
lab link hv2 30mbit --net migration
check "another is asked for" ask hot hv1 --mode postcopy-after-precopy
# (cut before it runs there, what it was is lost with the destination's QEMU)
switched() {
    virsh_on hv2 domstate hot --reason 2>/dev/null | has "paused (post-copy)" &&
        virsh_on hv1 domstate hot --reason 2>/dev/null | has "running (post-copy)"
}
check "it is switched after the first round" wait_until 60 switched
lab link hv2 down --net migration
broken() { virsh_on hv2 domstate hot --reason 2>/dev/null | has "post-copy failed"; }
check "the cut is noticed" wait_until 60 broken
lab link hv2 up --net migration
check "it is recovered" ended 60
check "by the source's agent" audited hv2 move.recover hot
check "hot runs on hv1, in one copy" eval 'guest_is hot hv1 && beats_on hot'

# ---- the others
check "xbzrle" eval 'ask hot hv2 --xbzrle && ended 90'
check "is in the virsh command" reported '.moves[0].virsh | contains("--comp-methods xbzrle")'
virsh_on hv1 autostart plain >/dev/null
check "four connections" eval 'ask plain hv2 --parallel 4 && ended 60'
check "plain runs on hv2" guest_is plain hv2
if [ $firewall = nft ]; then
    # Of the post-copy before, hv1 may come back to hv2 for an hour; not so hv3, nor anybody to hv3.
    check "nobody comes to a host without a reservation" lets_nobody_in hv3
fi
starts_with() { virsh_on "$1" dominfo plain | has -E "^Autostart: +enable"; }
check "and starts with its host there, as before" eval 'wait_until 10 starts_with hv2 ||
    { virsh_on hv2 dominfo plain; lab logs hv1 agent | grep plain; lab logs hv2 agent | grep -e plain -e autostart; false; }'

# ---- a disk of this host only goes with it
lab exec hv2 qemu-img create -q -f qcow2 /var/lib/libvirt/images/own.qcow2 16M
virsh_on hv2 attach-disk plain /var/lib/libvirt/images/own.qcow2 vdb --live --config --driver qemu --subdriver qcow2
sees_disk() { skein_on hv3 vms -o json | jq -e '.vms[] | select(.name == "plain") | .local_disk_mib >= 1' >/dev/null; }
check "the local disk is seen" wait_until 15 sees_disk
check "a copied disk" eval 'ask plain hv1 --copy-storage --disks vdb && ended 90'
check "plain runs on hv1, from its own copy" eval 'guest_is plain hv1 && lab exec hv1 test -s /var/lib/libvirt/images/own.qcow2'
check "it is said that the old one is still on hv2" reported '.moves[0].message | contains("still on hv2")'
check "only the chosen disk was copied" reported '.moves[0] | .disks == ["vdb"] and (.virsh | contains("--migrate-disks vdb"))'
