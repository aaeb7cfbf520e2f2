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

# ---- what runs on a guest's disks
virsh_on hv1 blockcopy plain vda /srv/shared/copy.raw --transient-job --format raw >/dev/null
check "a block job is found" finds BLOCK_JOB plain hv2
virsh_on hv1 blockjob plain vda --abort
virsh_on hv1 backup-begin plain /dev/stdin >/dev/null <<'EOF'
<domainbackup mode='pull'><server transport='unix' socket='/tmp/backup.sock'/>
  <disks><disk name='vda' type='file'><scratch file='/srv/shared/scratch.qcow2'/></disk></disks></domainbackup>
EOF
check "a backup in progress is found" finds BACKUP plain hv2
virsh_on hv1 domjobabort plain
virsh_on hv1 snapshot-create plain /dev/stdin --redefine >/dev/null <<EOF
<domainsnapshot><name>s1</name><state>shutoff</state><creationTime>1700000000</creationTime>
  <disks><disk name='vda' snapshot='internal'/></disks>$(virsh_on hv1 dumpxml plain --inactive)</domainsnapshot>
EOF
check "snapshots are found" finds SNAPSHOTS plain hv2
virsh_on hv1 snapshot-delete plain s1 --metadata >/dev/null

# ---- what the other host lacks: a definition that asks for much
much="<numatune><memory mode='strict' nodeset='5'/></numatune><devices>
<interface type='network'><source network='nowhere'/><filterref filter='unknown'/></interface>
<disk type='block'><driver name='qemu' type='raw' cache='unsafe'/><source dev='/dev/sdx'/><target dev='vdz'/></disk>
<disk type='network'><auth username='x'><secret type='ceph' uuid='aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeee1'/></auth>
<source protocol='rbd' name='vms/x'><host name='mon'/></source><target dev='vdy'/></disk>
<disk type='volume'><source pool='nowhere' volume='x'/><target dev='vdx'/></disk>"
virsh_on hv1 dumpxml plain --inactive | tr -d '\n' | sed \
    -e 's|<name>[^<]*|<name>odd|; s|<uuid>[^<]*|<uuid>aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee|' \
    -e "s|<vcpu[^>]*>|<vcpu cpuset='0-500'>|; s|<cpu .*</cpu>|<cpu mode='custom'><model>Icelake-Server</model></cpu>|" \
    -e "s|<devices>|${much//$'\n'/}|" >"$WORK/odd.xml"
virsh_on hv1 define /dev/stdin <"$WORK/odd.xml" >/dev/null
odd_is_known() { doctor odd hv2 >"$WORK/odd.json" 2>&1 && jq -e .findings "$WORK/odd.json"; }
check "it is seen" wait_until 20 odd_is_known
for code in CPU NUMA PINNING NETWORK NWFILTER SECRET STORAGE CACHE_MODE UNSTABLE_PATH; do
    check "it is found: $code" jq -e --arg code "$code" 'any(.findings[]; .code == $code)' "$WORK/odd.json"
done
virsh_on hv1 undefine odd >/dev/null
lab exec hv1 mv /etc/pki/libvirt/clientcert.pem /etc/pki/libvirt/away.pem
check "a host without its certificate is told so" finds NO_CERTIFICATE
check "the other host does not let it in" finds PEER_CERTIFICATE plain hv2
lab exec hv1 mv /etc/pki/libvirt/away.pem /etc/pki/libvirt/clientcert.pem

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
