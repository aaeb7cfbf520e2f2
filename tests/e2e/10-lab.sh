#!/usr/bin/env bash
# The lab itself: hosts, guests, live migration, faults, and nothing left behind.
set -eu
# shellcheck source=tests/e2e/lib/lib.sh
. "$(dirname "$0")/lib/lib.sh"
# shellcheck source=tests/e2e/lib/lab.sh
. "$(dirname "$0")/lib/lab.sh"

export SKEIN_LAB=e2e10-$$ E2E_MARK=e2e10-$$
export SKEIN_LAB_ROOT=$WORK/labs
web=web-$$ db=db-$$ hot=hot-$$
at_exit lab down
at_exit lab --lab "$SKEIN_LAB-two" down

machine_state() {
    ip -o link | cut -d: -f2
    ip netns
    mount
    ls -d /etc/pki /etc/skein /var/lib/skein /var/lib/libvirt 2>&1 || :
}

# Processes that carry this test's mark in their environment or a guest's name of it.
marked() {
    local at
    for at in /proc/[0-9]*; do
        if tr '\0' '\n' <"$at/environ" 2>/dev/null | has -x "E2E_MARK=$E2E_MARK" &&
            ! grep -qsE '^(10-lab.sh|lab)\b' "$at/comm" || tr '\0' ' ' <"$at/cmdline" 2>/dev/null | has "guest=[a-z]*-$$,"; then
            [ "$at" = "/proc/$BASHPID" ] || [[ $(cat "$at/comm" 2>/dev/null) =~ ^(bash|tr|grep|cat|)$ ]] ||
                echo "${at#/proc/} $(tr '\0' ' ' <"$at/cmdline" 2>/dev/null)"
        fi
    done
}

none_marked() {
    local left
    left=$(marked)
    [ -z "$left" ] || { echo "$left" && return 1; }
}

left_nothing() {
    machine_state >"$WORK/after"
    diff "$WORK/before" "$WORK/after"
    wait_until 5 none_marked
    [ ! -e "$SKEIN_LAB_ROOT" ] || { find "$SKEIN_LAB_ROOT" && return 1; }
}

seconds_at_most() {
    local limit=$1 start=${EPOCHREALTIME/./} took
    shift
    "$@"
    took=$(((${EPOCHREALTIME/./} - start) / 1000))
    echo "took $took ms"
    ((took <= limit * 1000))
}

seconds_at_least() {
    local limit=$1 start=${EPOCHREALTIME/./}
    shift
    "$@"
    ((${EPOCHREALTIME/./} - start >= limit * 1000000))
}

machine_state >"$WORK/before"

# --- usage -----------------------------------------------------------------------------------------------------
check "down when nothing is up" lab down
check "status when nothing is up" prints "is not up" lab status
check "exec when nothing is up" exits 1 lab exec hv1 true
check "unknown commands are wrong usage" exits 2 lab frobnicate
check "a number of hosts is wanted" exits 2 lab up --hosts many
check "without FUSE it is not possible" prints "no /dev/fuse" exits 3 unshare --mount sh -c \
    "mount -t tmpfs none /dev && '$REPO/deploy/lab' up --hosts 1 2>&1"

# --- up --------------------------------------------------------------------------------------------------------
check "three hosts in ten seconds" seconds_at_most 10 lab up --hosts 3
check "up twice is refused" prints "up already" exits 1 lab up --hosts 3
check "all three are on" prints "3" bash -c "'$REPO/deploy/lab' status -o json | jq '[.hosts[] | select(.power and .libvirtd)] | length'"
check "exec passes the status through" exits 42 lab exec hv2 sh -c "exit 42"
check "a host has its own name" prints hv2 lab exec hv2 hostname
check "names resolve on both networks" prints "10.78.0.3" lab exec hv1 getent hosts hv3-mig
check "the pools are there" prints shared virsh_on hv3 pool-list
check "libvirtd answers over TLS" prints hv2 lab exec hv1 virsh -c qemu+tls://hv2/system hostname
check "libvirtd answers over TLS on the migration network" prints hv2 lab exec hv1 virsh -c qemu+tls://hv2-mig/system hostname

# asks_with CERTIFICATE KEY: hv1 asks hv2's libvirtd as their owner.
of_hv1=$SKEIN_LAB_ROOT/$SKEIN_LAB/hosts/hv1/etc/pki
asks_with() {
    mkdir -p "$WORK/keys"
    cp "$of_hv1/CA/cacert.pem" "$WORK/keys/"
    cp "$1" "$WORK/keys/clientcert.pem"
    cp "$2" "$WORK/keys/clientkey.pem"
    lab exec hv1 virsh -c "qemu+tls://hv2/system?pkipath=$WORK/keys" hostname
}
"${SKEIN_BUILD:-$REPO/build}/bin/skein" cert issue --directory "$SKEIN_LAB_ROOT/$SKEIN_LAB/pki" --host hv9 --out "$WORK/hv9" >/dev/null
check "a host's libvirt key is let in" prints hv2 asks_with "$of_hv1/libvirt/clientcert.pem" "$of_hv1/libvirt/private/clientkey.pem"
check "its QEMU's key is not" fails asks_with "$of_hv1/qemu/client-cert.pem" "$of_hv1/qemu/client-key.pem"
check "nor that of a host that is not of the lab" fails asks_with "$WORK/hv9/libvirt/clientcert.pem" "$WORK/hv9/libvirt/private/clientkey.pem"
check "it was hv2 that refused" prints "not on the list of allowed clients" lab logs hv2 libvirtd

# --- heartbeats ------------------------------------------------------------------------------------------------
console=$SKEIN_LAB_ROOT/$SKEIN_LAB/shared/console/cut.log pulse=$SKEIN_LAB_ROOT/$SKEIN_LAB/pulse/cut
pulse_is() { # COUNTER STARTS OVERLAPS
    local counter starts overlaps
    read -r counter starts _ _ overlaps <"$pulse" && [ "$counter $starts $overlaps" = "$*" ]
}
printf 'boot a cut\nbeat a 11\nbeat a 1' >"$console"
check "beats are counted" wait_until 5 pulse_is 11 1 0
printf 'boot b cut\nbeat b 1\n' >>"$console"
check "a line that a loss of power leaves half written is no second copy" wait_until 5 pulse_is 1 2 0
printf 'beat a 13\n' >>"$console"
check "a beat out of turn is" wait_until 5 pulse_is 1 2 1
rm "$console" "$pulse"

# --- guests ----------------------------------------------------------------------------------------------------
check "a guest on shared storage" lab guest add "$web" --host hv1 --memory 64 --tag tier=gold --tag 'note=a<b & "c"' --meta owner=shop
check "a guest on a network disk" lab guest add "$db" --host hv1 --memory 96 --disk network --dirty 8 --wset 16
check "a transient guest without a disk" lab guest add "$hot" --host hv3 --memory 64 --disk none --transient --vcpus 2
check "a name is taken once" fails lab guest add "$web" --host hv2 --memory 64
check "its tags are in its metadata" prints 'value="a&lt;b &amp; &quot;c&quot;"' virsh_on hv1 dumpxml "$web"
check "and its owner" prints "<skein:owner>shop</skein:owner>" virsh_on hv1 dumpxml "$web"
for guest in "$web" "$db" "$hot"; do
    check "$guest beats" wait_until 5 beats_on "$guest"
done

idle_is_idle() {
    local before after
    before=$(virsh_on hv1 domstats --cpu-total "$web" | sed -n 's/.*cpu.time=//p')
    sleep 2
    after=$(virsh_on hv1 domstats --cpu-total "$web" | sed -n 's/.*cpu.time=//p')
    echo "$(((after - before) / 20000000)) % of a core"
    ((after - before < 200000000))
}
check "a guest without work uses nearly no processor" idle_is_idle

# --- migration -------------------------------------------------------------------------------------------------
check "live migration, p2p and TLS, disk on shared storage" migrate_by_virsh "$web" hv1 hv2
check "it is there, and only there" guest_is "$web" hv2
check "live migration, network disk, while memory is written" migrate_by_virsh "$db" hv1 hv2
check "it is there, and only there" guest_is "$db" hv2
check "the guest never stopped counting" beats_on "$web"
check "nor did the other" beats_on "$db"
check "on the mesh network, too" lab exec hv2 virsh -q migrate "$web" qemu+tls://hv3/system --live --p2p --tls --persistent --undefinesource
check "and it counts on" beats_on "$web"

second_copy() {
    virsh_on hv3 dumpxml "$web" --migratable >"$WORK/web.xml"
    lab exec hv1 virsh -q create /dev/stdin <"$WORK/web.xml"
}
check "a second copy is refused by the image's lock" prints 'Failed to get "write" lock' exits 1 second_copy
check "and has not harmed the first" beats_on "$web"

# --- faults ----------------------------------------------------------------------------------------------------
check "a link on one network goes down" lab link hv2 down --net migration
check "nothing passes there" fails reaches hv1 10.78.0.2 16514
check "the other network is whole" reaches hv1 10.77.0.2 16514
check "and comes up" lab link hv2 up
check "all passes again" reaches hv1 10.78.0.2 16514
check "a rate for a link" lab link hv2 40mbit --net migration
check "shows in the status" prints 40Mbit lab status
lab guest add "slow-$$" --host hv2 --memory 64 --wset 20
check "20 MiB over 40 Mbit/s take their time" seconds_at_least 3 migrate_by_virsh "slow-$$" hv2 hv1
check "and the guest counted on" beats_on "slow-$$"
lab link hv2 up

check "libvirtd killed" lab kill hv2 libvirtd
check "its guests live on" beats_on "$db"
check "libvirtd started" lab start hv2 libvirtd
check "it finds its guests" guest_is "$db" hv2
check "power off" lab kill hv2 power --silent
check "nothing answers there" exits 1 lab exec hv2 true
check "its guest is nowhere" guest_is "$db" - nowhere
check "power on" lab start hv2 power
check "its definitions last" guest_is "$db" hv2 "shut off"
check "its guest starts" virsh_on hv2 start "$db"
started_twice() { [ "$(heartbeat "$db" starts)" = 2 ]; }
check "and the second start shows" wait_until 5 started_twice
check "shutdown by the power button" virsh_on hv2 shutdown "$db"
check "works" wait_until 5 guest_is "$db" hv2 "shut off"
check "a guest is removed" lab guest remove "$db"
check "and gone" fails lab guest counter "$db"

# --- temperatures ----------------------------------------------------------------------------------------------
check "sensors show the processor" prints "coretemp-isa-0000" lab exec hv1 sensors
check "a temperature is set" lab heat hv1 78.5
check "and seen in the host" prints "+78.5" lab exec hv1 sensors
check "the inlet's" lab heat hv1 33 --inlet
check "and seen" prints "+33.0" lab exec hv1 sensors
check "garbage" lab heat hv1 garbage
check "is no number" prints "N/A" lab exec hv1 sensors
check "below zero" lab heat hv2 -0.5
check "is seen" prints "-0.5" celsius hv2 cpu
check "gone" lab heat hv1 gone --inlet
check "is gone" prints null celsius hv1 inlet
check "back to normal" lab heat hv1 auto
check "is 45" prints "+45.0" lab exec hv1 sensors
check "the model" lab heat --model on --inlet 20 --per-guest 15 --tau 2
check "a host with a guest is warm" wait_until 15 warmer hv3 cpu 55
check "a weak fan" lab heat hv3 x2
check "makes it warmer" wait_until 15 warmer hv3 cpu 75
migrate_by_virsh "$web" hv3 hv1
check "when a guest leaves, it cools" wait_until 15 cooler hv3 cpu 75
check "the model ends" lab heat --model off

# --- agents ----------------------------------------------------------------------------------------------------
mkdir -p "$WORK/build/bin"
gcc -x c -o "$WORK/build/bin/skein-agent" - <<'END'
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "/run/skein/agent.sock" };
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    unlink(at.sun_path);
    write(1, argv[argc - 1], 22);
    return bind(s, (void *)&at, sizeof(at)) || pause();
}
END
echo 'log = { level = "debug"; }; tags = { box = "@HOST@-@N@"; };' >"$WORK/extra.conf"
check "agents start" lab agent start --build "$WORK/build" --agent-config "$WORK/extra.conf"
check "each with its configuration" prints '10.77.0.2:7440' lab exec hv2 cat /etc/skein/agent.conf
check "and what was added" prints '"hv2-2"' lab exec hv2 cat /etc/skein/agent.conf
check "and its log" prints /etc/skein/agent.conf lab logs hv1
check "twice is refused" fails lab agent start hv1
check "one is killed" lab kill hv1 agent
check "one is stopped" lab agent stop hv2
agents() { lab status -o json | jq -c '[.hosts[].agent]'; }
check "the third runs" prints '[false,false,true]' agents
check "one is started" lab start hv1 agent
check "it runs" prints '[true,false,true]' agents

# --- two labs, and the end -------------------------------------------------------------------------------------
check "a second lab beside it" lab --lab "$SKEIN_LAB-two" up --hosts 2
check "has hosts of its own" prints "hv2" lab --lab "$SKEIN_LAB-two" exec hv1 virsh -c qemu+tls://hv2/system hostname
check "and no guest" prints "[]" lab --lab "$SKEIN_LAB-two" guest list -o json
check "it ends" lab --lab "$SKEIN_LAB-two" down
check "the first lab lives" beats_on "$web"
some_marked() { (($(marked | wc -l) > 9)); }
check "its processes are seen" some_marked
check "and ends" seconds_at_most 10 lab down
check "nothing is left" left_nothing

cut_short() {
    lab up --hosts 3 &
    local up=$! i
    for ((i = 0; i < 500; i++)); do
        [ ! -e "$SKEIN_LAB_ROOT/$SKEIN_LAB/hosts/hv1/init" ] || break
        sleep 0.01
    done
    kill -9 "$up"
    wait "$up" || :
    lab down
}
check "up that was killed half-way can be taken down" cut_short
check "and nothing is left" left_nothing
