#!/usr/bin/env bash
# Roster and revocations are agreed on: given to one host, they hold on all; a person who was revoked approves nothing, and
# a host that was revoked is out of the mesh at once.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/lab.sh"
. "$(dirname "$0")/lib/mesh.sh"

agents_of_own 4
STATE=${SKEIN_LAB_ROOT:-/var/lib/skein-lab}/$SKEIN_LAB
SKEIN=${SKEIN_BUILD:-$REPO/build}/bin/skein
lab guest add prey --host hv1 --memory 64
check "all agents see the guest" wait_until 20 eval 'guests_seen 1 hv1 && guests_seen 1 hv2'

# give HOST FILE: as an operator brings a new file of the authority's to one host
give() {
    cp "$STATE/pki/$2" "$STATE/hosts/$1/etc/pki/skein/$2"
    # shellcheck disable=SC2016
    lab exec "$1" sh -c 'kill -HUP $(cat /run/agent.pid)'
}
# same FILE: all hosts hold what the authority made
same() {
    local host
    for host in hv1 hv2 hv3 hv4; do
        cmp -s "$STATE/pki/$1" "$STATE/hosts/$host/etc/pki/skein/$1" || { echo "$host holds another $1" && return 1; }
    done
}

# ---- a new person
plan_of_move() { # shellcheck disable=SC2046
    ask_for prey "$1" hv1 && wait_until 10 plan_waits hv1
}
check "a plan waits" wait_until 20 plan_of_move hv2
"$SKEIN" cert issue --directory "$STATE/pki" --person carla --roles approver --out "$STATE/people" >/dev/null
plan=$(cat "$WORK/plan")
# shellcheck disable=SC2046
check "a person whom no roster names approves nothing" fails skein_on hv1 plan approve "$plan" --yes $(as carla)
give hv4 roster.json
check "the roster, given to a host that does not vote, is everywhere" wait_until 20 same roster.json
# shellcheck disable=SC2046 # hosts hold it a moment before the voters have agreed on it
check "and now her approval counts for voters" wait_until 20 skein_on hv1 plan approve "$plan" --yes $(as carla)
check "and for source and destination" wait_until 60 plan_is "$plan" SUCCEEDED hv1
check "the guest has moved" guest_is prey hv2

# ---- revoked
serial_of() { "$SKEIN" cert list --directory "$STATE/pki" -o json | jq -r --arg n "$1" --arg u "$2" \
    '[.. | objects | select(.name? == $n and .use? == $u)][0].serial'; }
revoke() { "$SKEIN" cert revoke --directory "$STATE/pki" "$(serial_of "$1" "$2")" >/dev/null; }
check "another plan waits" wait_until 20 plan_of_move hv1
plan=$(cat "$WORK/plan")
revoke carla person
give hv2 crl.pem
check "her revocation is everywhere" wait_until 20 same crl.pem
# shellcheck disable=SC2046
check "a revoked person approves nothing" fails skein_on hv3 plan approve "$plan" --yes $(as carla)
check "the guest has not moved" guest_is prey hv2

# ---- hv4 becomes a member anew, by a token: what an issuer below the root makes is good for real libvirt and QEMU
"$SKEIN" cert issuer --directory "$STATE/pki" --host hv1 --out "$STATE/hosts/hv1/etc/pki/skein" >/dev/null
{ cat "$WORK/agent.extra" && echo 'issuer = { listen = "0.0.0.0:7444"; };'; } >"$WORK/issuer.extra"
lab agent stop hv1 hv4
lab agent start hv1 --agent-config "$WORK/issuer.extra"
token_for() { # shellcheck disable=SC2046
    skein_on hv1 token create --host "$1" --replace --dns "$1,$1-mig" $(as admin) >"$WORK/token"
}
check "a token is given" wait_until 20 token_for hv4
lab exec hv4 rm -r /etc/pki/CA /etc/pki/libvirt /etc/pki/qemu /etc/pki/skein
check "hv4 joins by it" lab exec hv4 skein join "$(cat "$WORK/token")" --from hv1:7444 --host hv4
lab kill hv4 libvirtd
lab start hv4 libvirtd
lab agent start hv4 --agent-config "$WORK/agent.extra"
check "libvirt's own check has no complaint" lab exec hv4 virt-pki-validate
linked() { lab logs "$1" agent | has "linked to hv4"; }
check "and it is in the mesh" wait_until 20 linked hv2

# ---- a revoked host: what its libvirt may still do
virsh_to() { lab exec "$1" timeout 5 virsh -q -c "qemu+tls://$2/system" list; } # FROM TO
check "its libvirtd may command another's" wait_until 10 virsh_to hv4 hv1
lab guest add stray --host hv4 --memory 64
lab exec hv4 virsh -q -c qemu+tls://hv1/system event --event lifecycle --loop >"$WORK/session" 2>&1 &
session=$!
migrate_by_virsh stray hv4 hv1 --bandwidth 1 >"$WORK/move" 2>&1 & # a minute, if it is let
move=$!
arrives() { virsh_on hv1 list --all --name | has -x stray; }
check "a guest is on its way from there" wait_until 10 arrives
started=$SECONDS
for use in libvirt qemu agent; do
    revoke hv4 $use # what it had first; and what it has now
done
"$SKEIN" cert revoke --directory "$STATE/pki" "$STATE"/hosts/hv1/var/lib/skein/issued/hv4.*.pem >/dev/null
give hv1 crl.pem
# The logs begin before it joined anew: the last of a link's ups and downs counts.
down() { lab logs "$1" agent | awk '/ linked to hv4/ { up = 1 } /link to hv4 is down/ { up = 0 } END { exit up }'; }
links() { lab logs hv1 agent | grep -c " linked to hv4" || :; }
check "a revoked host is out of the mesh within 5 s" within 5 eval 'for h in hv1 hv2 hv3; do down $h || exit 1; done'
before=$(links)
stays_out() {
    sleep 3
    [ "$(links)" = "$before" ] && down hv1
}
check "and stays out" stays_out
gone() { ! kill -0 "$1" 2>/dev/null; }
check "its session with another's libvirtd has ended" wait_until 5 gone "$session"
check "and the migration that it had begun" wait_until 5 gone "$move"
note "$((SECONDS - started)) s after the revocation"
check "whose guest is at home" wait_until 10 guest_is stray hv4
check "it commands no other libvirtd any more" fails virsh_to hv4 hv1
check "nor is it commanded" fails virsh_to hv1 hv4
check "the others command each other" virsh_to hv1 hv2
# Once in the root's name, and once in that of issuers below it.
check "every host's libvirt and QEMU have the list" eval 'for h in hv1 hv2 hv3; do
    for file in CA/cacrl.pem qemu/ca-crl.pem; do
        [ "$(grep -c BEGIN "$STATE/hosts/$h/etc/pki/$file")" = 2 ] || exit 1
    done
done'
# shellcheck disable=SC2046
check "the others go on" skein_on hv3 plan approve "$plan" --yes --wait=60 $(as approver)
check "no sanitizer complains" sanitizer_is_silent
