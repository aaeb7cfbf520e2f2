#!/usr/bin/env bash
# The agent's hypervisor calls on real libvirt hosts: observe, look, check, migrate, abort, tidy; hung and absent
# libvirtd; temperatures. The calls are made by hv-driver, with the agent's own worker threads.
set -eu
# shellcheck source=tests/e2e/lib/lib.sh
. "$(dirname "$0")/lib/lib.sh"
# shellcheck source=tests/e2e/lib/lab.sh
. "$(dirname "$0")/lib/lab.sh"

DRIVER=${SKEIN_BUILD:-$REPO/build}/tests/hv-driver
export SKEIN_LAB=e2e20-$$
web=web-$$ db=db-$$ hot=hot-$$ off=off-$$

# hv HOST COMMANDS [ARGS...]: one line of JSON a result; COMMANDS are separated by semicolons.
hv() {
    local host=$1 commands=$2
    shift 2
    tr ';' '\n' <<<"$commands" | lab exec "$host" "$DRIVER" libvirt:qemu:///system hwmon "$@"
}

# hv_says FILTER HOST COMMANDS [ARGS...]: jq's FILTER over the list of all results is true.
hv_says() {
    local filter=$1
    shift
    hv "$@" >"$WORK/said"
    jq -s 'map(del(.detail.capability.machines, .detail.capability.cpu_features))' "$WORK/said"
    jq -se "$filter" "$WORK/said" >/dev/null
}

uuid() {
    virsh_on "$1" domuuid "$2" | sed -n 1p
}

# result KIND: of the only (or last) result of that kind; vm NAME: of the last observation.
jq_lib='def result(k): map(select(.kind == k)) | last; def vm(n): (result("observe").detail.vms[] | select(.name == n));'

says() {
    local filter=$1
    shift
    hv_says "$jq_lib $filter" "$@"
}

lab_of_own 3
lab guest add "$web" --host hv1 --memory 64 --tag tier=gold --meta owner=shop
lab guest add "$db" --host hv1 --memory 64 --disk network
lab guest add "$hot" --host hv1 --memory 192 --dirty 150 --wset 100
lab guest add "$off" --host hv1 --memory 64
WEB=$(uuid hv1 "$web") DB=$(uuid hv1 "$db") HOT=$(uuid hv1 "$hot") OFF=$(uuid hv1 "$off")
virsh_on hv1 destroy "$off" >/dev/null

# --- observe ---------------------------------------------------------------------------------------------------------
check "the host is observed" says 'result("observe").detail | .summary.hypervisor_ok and .summary.cores > 0 and
    .summary.memory_total_mib >= .summary.memory_used_mib and .summary.vms == 3 and .capability.arch == "x86_64" and
    (.capability.qemu | startswith("7.")) and (.capability.libvirt | startswith("9.")) and
    (.capability.usable_models | index("qemu64")) and (.capability.machines | index("pc-i440fx-7.2")) and
    (.capability.storage | map([.name, .shared])) == [["local", false], ["shared", true]]' hv1 "observe"
check "its pressure too" says 'result("observe").detail.summary.pressure_cpu_milli >= 0' hv1 "observe"
check "a VM is observed" says "vm(\"$web\") | .state == \"VM_RUNNING\" and .persistent and .memory_mib == 64 and
    .vcpus == 1 and .storage == [\"shared\"] and .local_disk_mib == 0 and .machine == \"pc-i440fx-7.2\" and
    .cpu_model == \"qemu64\" and .owner == \"shop\" and .tags == [{key: \"tier\", value: \"gold\"}] and
    .memory_used_mib > 0" hv1 "observe"
check "a stopped one is" says "vm(\"$off\").state == \"VM_STOPPED\"" hv1 "observe"
check "what a guest uses is measured" says "vm(\"$hot\").cpu_used_millicores > 5 and
    (result(\"observe\").detail.summary | .used_millicores >= 5 and .used_millicores <= 1000 * .cores)" \
    hv1 "observe;wait;sleep 3000;observe"
(
    sleep 1
    virsh_on hv1 metadata "$web" https://skein.dev/domain/1 --key skein --live --config \
        --set '<vm><owner>shop</owner><priority>7</priority><hold_until>soon</hold_until></vm>'
) >/dev/null &
check "a change of metadata is told and seen; a hold that cannot be read holds" says "result(\"changes\").seen > 0 and
    (vm(\"$web\") | .priority == 7 and .hold_until_ms > 4000000000000)" hv1 "observe;wait;sleep 2500;changes;observe"
wait

# --- look, check, admit ----------------------------------------------------------------------------------------------
check "a VM is looked at" says 'result("look") | .state == "VM_RUNNING" and .reason == "booted"' hv1 "look $WEB"
check "a VM is looked at from elsewhere" says 'result("look-remote") | .code == "OK" and .present and .persistent and
    .state == "VM_RUNNING"' hv2 "look-remote $WEB hv1"
check "absent is an answer" says 'result("look") | .code == "OK" and (.present | not)' hv2 "look $WEB"
check "it may leave" says 'result("precheck").code == "OK"' hv1 "precheck $WEB hv2"
check "a network disk without a lock may not" says 'result("precheck") | .code == "INCOMPATIBLE" and
    (.message | contains("no lock guards"))' hv1 "precheck $DB hv2"
check "unless that is allowed" says 'result("precheck").code == "OK"' hv1 "precheck $DB hv2" unlocked
check "a VM that is not here may not" says 'result("precheck").code == "NOT_FOUND"' hv2 "precheck $WEB hv3"

KNOW="know libvirt:qemu+tls://hv1/system"
admits() {
    says "result(\"admit\") | .code == \"$1\" and (.message | contains(\"$2\"))" hv2 "$KNOW;$3"
}
check "it may arrive" admits OK "" "admit $WEB"
check "not with a machine type that is not known" admits INCOMPATIBLE "machine type pc-i440fx-99" "admit-as $WEB machine=pc-i440fx-99"
check "not with a processor that is not there" admits INCOMPATIBLE "cannot run CPU model Icelake" "admit-as $WEB cpu_model=Icelake-Server"
check "not without its storage" admits INCOMPATIBLE 'storage \"ceph\" is not active' "admit-as $WEB storage=ceph"
check "not with more memory than is free" admits CAPACITY "are available" "admit-as $WEB memory_mib=9999999"
check "not in huge pages that are not there" admits CAPACITY "in pages of 2048 KiB" "admit-as $WEB hugepages_kib=2048"
check "not where it runs" says 'result("admit") | .code == "EXISTS" and (.message | contains("active here"))' \
    hv1 "observe;wait;admit $WEB"

# --- before and after: what a VM is like ---
virsh_on hv1 blkdeviotune "$web" vda --total-bytes-sec 50000000 --live --config >/dev/null
virsh_on hv1 schedinfo "$web" --set cpu_shares=900 --live --config >/dev/null 2>&1 || true
check "what it is like is said before it leaves" says 'result("precheck").baseline | any(startswith("def memory=64 MiB")) and
    any(. == "set disk vda limits=total_bytes_sec=50000000") and any(startswith("def disk vda=disk virtio")) and
    any(. == "set disk vda source=/srv/shared/'"$web"'.raw") and any(. == "set statistics of processors=counted")' \
    hv1 "precheck $WEB hv2"
jq -S 'select(.kind == "precheck") | .baseline' "$WORK/said" >"$WORK/before"

# --- migrate ---------------------------------------------------------------------------------------------------------
check "it migrates over TLS; downtime and time are told" says 'result("migrate") | .code == "OK" and .downtime_ms > 0 and
    .downtime_ms < 2000 and .elapsed_ms > 100' hv1 \
    "migrate $WEB hv2 address=10.78.0.2 persistent=1 downtime=300 converge=1 timeout=60000"
note "$(jq -c '{ms, downtime_ms}' "$WORK/said")"
check "it is there, and only there" guest_is "$web" hv2
check "it is like it was" eval 'hv hv2 "baseline $WEB" | jq -S .baseline | diff "$WORK/before" -'
check "it never stopped counting" beats_on "$web"
check "its source sees it gone, and there is nothing to tidy" says '(result("look").present | not) and
    result("tidy").code == "OK" and (result("look-remote") | .state == "VM_RUNNING" and .reason == "migrated")' \
    hv1 "look $WEB;look-remote $WEB hv2;wait;tidy $WEB"
check "and back, with two connections and a bandwidth limit" says 'result("migrate").code == "OK"' hv2 \
    "migrate $WEB hv1 address=10.78.0.1 persistent=1 parallel=2 bandwidth=200 timeout=60000"
check "it counts on" beats_on "$web"
check "a stopped VM is moved as its definition" says 'result("precheck").code == "OK" and result("migrate").code == "OK" and
    (result("look").present | not)' hv1 "precheck $OFF hv3;wait;migrate $OFF hv3 address=10.78.0.3 persistent=1;wait;look $OFF"
check "it is stopped there" says 'result("look") | .state == "VM_STOPPED" and .persistent' hv3 "look $OFF"

# --- what does not end by itself -------------------------------------------------------------------------------------
check "a guest that writes too fast shows progress and is aborted" says '(map(select(.kind == "progress")) | last |
    .running and .total_mib >= 192 and .transferred_mib > 5 and .bandwidth_milli_mib_s > 1000) and
    result("migrate").code == "CANCELLED" and result("look-remote").state == "VM_INCOMING" and
    (result("look") | .job and .job_ms > 0 and .state == "VM_RUNNING")' hv1 \
    "migrate $HOT hv2 address=10.78.0.2 persistent=1 bandwidth=8;until $HOT 6;look $HOT;look-remote $HOT hv2;sleep 500;abort $HOT"
check "nothing is left of it" says '(result("look") | (.job | not) and .state == "VM_RUNNING") and
    (result("look-remote").present | not)' hv1 "look $HOT;look-remote $HOT hv2"
check "a second migration of it waits for nothing" says 'map(select(.kind == "migrate") | .code) | sort == ["CANCELLED", "CONFLICT"]' \
    hv1 "migrate $HOT hv2 address=10.78.0.2 persistent=1 bandwidth=8;sleep 1500;migrate $HOT hv3 address=10.78.0.3 persistent=1;sleep 500;abort $HOT"
# (the hypervisor may not know the job yet: then the abort is kept for it)
check "one that is aborted at once never begins, or ends" says 'result("migrate").code == "CANCELLED" and
    (result("abort").code | . == "OK" or . == "CONFLICT")' \
    hv1 "migrate $HOT hv2 address=10.78.0.2 persistent=1 bandwidth=8;sleep 20;abort $HOT"
check "one that takes too long is aborted" says 'result("migrate") | .code == "TIMEOUT" and .ms < 8000' hv1 \
    "migrate $HOT hv2 address=10.78.0.2 persistent=1 bandwidth=8 timeout=2000"
check "the guest never noticed" beats_on "$hot"

# --- tidy ------------------------------------------------------------------------------------------------------------
check "a running VM is never tidied away" says 'result("tidy").code == "CONFLICT" and result("look").state == "VM_RUNNING"' \
    hv1 "tidy $HOT;wait;look $HOT"
virsh_on hv1 dumpxml --inactive "$hot" | lab exec hv3 sh -c 'cat >/tmp/left.xml; virsh -q define /tmp/left.xml' >/dev/null
check "a definition that was left is" says 'result("tidy").code == "OK" and (result("look").present | not)' \
    hv3 "tidy $HOT;wait;look $HOT"

# --- faults ----------------------------------------------------------------------------------------------------------
# libvirtd_signal HOST SIGNAL
libvirtd_signal() {
    lab exec "$1" sh -c "kill -$2 \$(cat /run/libvirtd.pid)"
}
# hung_then_back HOST: commands on stdin time, so that the signals fall between them.
hung_then_back() {
    {
        echo "observe"
        echo "wait"
        sleep 1
        libvirtd_signal hv1 STOP
        printf 'observe\nlook %s\nprogress %s\nwait\nload\nobserve\nwait\n' "$HOT" "$HOT"
        sleep 6
        libvirtd_signal hv1 CONT
        sleep 1
        printf 'observe\nwait\nlook %s\nwait\nsleep 3000\nload\nrss\n' "$HOT"
    } | lab exec hv1 "$DRIVER" libvirt:qemu:///system timeout 1500 >"$WORK/said"
}
check "a hung libvirtd holds nobody for ever" hung_then_back
check "calls were given up in time, and work again afterwards" jq -se "$jq_lib"' (map(select(.kind == "observe") | .code) |
    .[0] == "OK" and .[1] == "TIMEOUT" and .[-1] == "OK") and (map(select(.code == "TIMEOUT") | .ms < 2500) | all) and
    result("look").code == "OK" and (map(select(.kind == "load") | .abandoned) | .[0] == 3 and .[-1] == 0)' "$WORK/said"

killed_then_back() {
    {
        echo "observe"
        echo "wait"
        sleep 1
        lab kill hv1 libvirtd
        printf 'observe\nwait\n'
        lab start hv1 libvirtd
        sleep 2
        printf 'observe\nwait\nchanges\n'
    } | lab exec hv1 "$DRIVER" libvirt:qemu:///system >"$WORK/said"
}
check "libvirtd is killed and comes back" killed_then_back
check "that is unavailable, then well" jq -se "$jq_lib"' (map(select(.kind == "observe") | .code) ==
    ["OK", "UNAVAILABLE", "OK"]) and result("changes").seen > 0' "$WORK/said"

hung_guest() {
    local pid
    pid=$(lab exec hv1 cat "/run/libvirt/qemu/$hot.pid")
    {
        echo "observe"
        echo "wait"
        sleep 1
        lab exec hv1 kill -STOP "$pid"
        printf 'observe\nwait\nobserve\nwait\nobserve\nwait\n'
        sleep 3
        lab exec hv1 kill -CONT "$pid"
        sleep 1
        printf 'observe\nwait\nsleep 2000\nload\n'
    } | lab exec hv1 "$DRIVER" libvirt:qemu:///system timeout 1500 >"$WORK/said"
}
check "a guest's QEMU hangs" hung_guest
check "that costs one observation; the others are seen again" jq -se '(map(select(.kind == "observe") | .code) |
    .[0] == "OK" and .[-2] == "OK" and .[-1] == "OK" and (map(select(. == "TIMEOUT")) | length) <= 1) and
    (map(select(.kind == "load") | .abandoned) | .[-1] == 0)' "$WORK/said"

libvirtd_signal hv3 STOP
check "a look at a host whose libvirtd hangs is given up; the next does not hang behind it" says '
    map(select(.kind == "look-remote") | .code) == ["TIMEOUT", "UNAVAILABLE"]' hv1 \
    "look-remote $WEB hv3;wait;look-remote $WEB hv3" timeout 1500
libvirtd_signal hv3 CONT
lab kill hv3 power --silent
check "a look at a host without power says so soon" says 'result("look-remote") | .code == "UNAVAILABLE" and .ms < 4000' \
    hv1 "look-remote $WEB hv3"
check "a name that is no host's says so" says 'result("look-remote").code == "UNAVAILABLE"' hv1 "look-remote $WEB nowhere"
check "a VM may not leave for it" says 'result("precheck").code == "UNAVAILABLE"' hv1 "precheck $WEB hv3"
check "a migration there fails soon and the guest runs on" says '(result("migrate") | .code == "UNAVAILABLE" and .ms < 4000) and
    (result("look") | .state == "VM_RUNNING" and (.job | not))' hv1 \
    "migrate $WEB hv3 address=10.78.0.3 persistent=1 timeout=20000;wait;look $WEB"
check "it counts on" beats_on "$web"

# --- a VM stops where it is ------------------------------------------------------------------------------------------
check "a VM is saved to disk" says 'result("suspend").code == "OK" and (result("look") | .state == "VM_STOPPED" and .reason == "saved")' \
    hv1 "suspend $WEB;wait;look $WEB"
check "one that does not run is not" says 'result("suspend").code == "CONFLICT" and result("shutdown").code == "CONFLICT"' \
    hv1 "suspend $WEB;shutdown $WEB"
virsh_on hv1 start "$web" >/dev/null
check "it goes on from there" beats_on "$web"
check "a guest is asked to shut down" says 'result("shutdown").code == "OK"' hv1 "shutdown $WEB"
check "and does" wait_until 20 guest_is "$web" hv1 "shut off"

# --- temperatures ----------------------------------------------------------------------------------------------------
degrees() {
    lab heat hv1 "$@"
}
summary() {
    says "result(\"observe\").detail.summary | $1" hv1 observe
}
check "temperatures and their limits" summary '.cpu_millicelsius == 45000 and .cpu_max_millicelsius == 85000 and
    .inlet_millicelsius == 24000 and .inlet_max_millicelsius == 35000'
degrees 78.5
degrees 33.25 --inlet
check "heat is seen" summary '.cpu_millicelsius == 78500 and .inlet_millicelsius == 33250'
degrees garbage
check "garbage is unknown" summary '(has("cpu_millicelsius") or has("inlet_millicelsius") or has("cpu_max_millicelsius")) | not'
degrees 0
check "so is nought" summary 'has("cpu_millicelsius") | not'
degrees 150
check "so is what no board survives" summary 'has("cpu_millicelsius") | not'
degrees -5 --inlet
check "so is frost" summary 'has("inlet_millicelsius") | not'
sensors_come_and_go() {
    {
        lab heat hv1 60
        lab heat hv1 auto --inlet
        printf 'observe\nwait\n'
        sleep 0.5
        lab heat hv1 gone
        printf 'observe\nwait\n'
        sleep 3
        printf 'observe\nwait\n'
        lab heat hv1 61
        lab heat hv1 25 --inlet
        sleep 3
        printf 'observe\nwait\n'
    } | lab exec hv1 "$DRIVER" libvirt:qemu:///system hwmon >"$WORK/said"
}
check "sensors vanish and come back" sensors_come_and_go
check "they are unknown meanwhile" jq -se 'map(.detail.summary | [.cpu_millicelsius, .inlet_millicelsius]) ==
    [[60000, 24000], [null, null], [null, null], [61000, 25000]]' "$WORK/said"

check "what it takes" says 'result("rss").kib < 65536' hv1 "observe;observe;wait;rss"
note "$(jq -sc '[.[] | {kind, ms, kib} | del(..|nulls)]' "$WORK/said")"
