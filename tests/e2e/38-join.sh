#!/usr/bin/env bash
# A host joins by a token, on simulated hosts: its keys are made there, its certificates come from an issuer below the
# root, and then it is a member as any other, which renews what it holds. Whoever has no good token, or is lied to about the issuer, gets nothing.
set -eu
. "$(dirname "$0")/lib/lib.sh"
. "$(dirname "$0")/lib/sim.sh"

check "a cluster comes up" sim_of_own --hosts 4 --guests 6
STATE=$SIM_FOLDER/clusters/test EYE=hv3 PKI=$SIM_FOLDER/clusters/test/pki
NET=127.$(cat "$STATE/net").0
SKEIN=${SKEIN_BUILD:-$REPO/build}/bin/skein
ROOT=$STATE/hosts/hv3/pki/skein/machines.pem
tool() { as_user "$SKEIN" "$@"; }
state_is() { EYE=$1 skein hosts -o json | jq -e --arg h "$2" --arg s "$3" '.hosts[] | select(.name == $h) | .state == $s'; }

# ---- hv4 leaves, and all that made it a member is gone
sim agent stop hv4
rm -rf "$STATE"/hosts/hv4/{pki,state}
check "hv4 is gone" wait_until 30 eval 'fails state_is hv3 hv4 up'

# ---- hv1 becomes an issuer: the root's key stays where it is
check "an intermediate is made" tool cert issuer --directory "$PKI" --host hv1 --out "$STATE/hosts/hv1/issuer"
check "it stands under the root" openssl verify -CAfile "$ROOT" "$STATE/hosts/hv1/issuer/issuer.pem"
tool cert issue --directory "$PKI" --host hv1 --dns hv1 --ip "$NET.1" --agent-only --out "$STATE/hosts/hv1/pki" >/dev/null
as_user tee -a "$STATE/hosts/hv1/agent.conf" >/dev/null <<EOF
issuer = { listen = "$NET.1:7444"; cert = "$STATE/hosts/hv1/issuer/issuer.pem"; key = "$STATE/hosts/hv1/issuer/issuer.key"; };
EOF
check "the agent checks that configuration" as_user "${SKEIN%/skein}/skein-agent" -n -c "$STATE/hosts/hv1/agent.conf"
sim agent stop hv1
check "and opens its door" sim agent start hv1
check "a planner is there" wait_until 30 planner_known

token() { # HOST ARGUMENTS...
    # shellcheck disable=SC2046
    skein token create --host "$1" --role agent --replace --root "$ROOT" $(as admin) "${@:2}" 2>/dev/null
}
join() { tool join "$1" --from "${FROM:-$NET.1:7444}" --host "$2" --agent-only --out "${OUT:-$SIM_FOLDER/refused}"; }
refused() { # CODE TOKEN HOST: with that code, and nothing is written
    exits 1 join "$2" "$3" >"$WORK/said" 2>&1
    cat "$WORK/said"
    grep -q "^error: $1: " "$WORK/said" && [ ! -e "$SIM_FOLDER/refused" ]
}

# ---- who gets nothing
token hv4 >"$WORK/token"
T=$(cat "$WORK/token")
check "an operator gives no token" eval 'fails skein token create --host hv4 --root "$ROOT" $(as operator)'
# shellcheck disable=SC2046
check "nor an admin one for a host that is there" eval 'exits 1 skein token create --host hv2 --root "$ROOT" $(as admin) >"$WORK/said" 2>&1; grep -q "^error: CONFLICT: .*--replace" "$WORK/said"'
check "another host's name" refused DENIED "$T" hv5
OUT=$SIM_FOLDER/hosts-none
as_user touch "$OUT"
check "a directory that is none costs no token" eval 'exits 1 join "$T" hv4 >"$WORK/said" 2>&1; grep -q "^error: IO: .*nothing was asked" "$WORK/said"'
unset OUT
check "another role" eval 'exits 1 tool join "$T" --from "$NET.1:7444" --host hv4 --out "$SIM_FOLDER/refused" >"$WORK/said" 2>&1; grep -q "^error: DENIED: .*role" "$WORK/said"'
last=${T: -1}
check "an altered token" refused NOT_FOUND "${T%?}$([ "$last" = 0 ] && echo 1 || echo 0)" hv4
other=$(sed -E 's/^(skein1:[^:]*):[0-9a-f]{8}/\1:00000000/' <<<"$T")
check "another root: somebody between them" refused UNAUTHENTICATED "$other" hv4
token hv5 >"$WORK/rogue"
check "another people's root: what it brings is not believed" refused UNAUTHENTICATED \
    "$(sed -E 's/^(skein1:[^:]*:[^:]*):[0-9a-f]{8}/\1:00000000/' "$WORK/rogue")" hv5
check "another cluster" refused UNAUTHENTICATED "${T/skein1:test:/skein1:prod:}" hv4
check "an address that is not in the certificate" eval 'FROM=localhost:7444 exits 1 join "$T" hv4'
check "one is given for three seconds" wait_until 20 eval 'token hv4 --lifetime 3 >"$WORK/late"'
sleep 3.2
check "a token that expired" refused EXPIRED "$(cat "$WORK/late")" hv4
token hv6 >"$WORK/back"
id=$(skein token list -o json | jq -r '.tokens[] | select(.host == "hv6") | .id')
# shellcheck disable=SC2046
check "one is taken back" skein token revoke $(as admin) "$id"
check "and counts no more" refused DENIED "$(cat "$WORK/back")" hv6
check "the door has nothing else" eval '[ "$(curl -sk "https://$NET.1:7444/v1/hosts" -o /dev/null -w "%{http_code}")" = 404 ]'
check "and bears with what is no request" eval '[ "$(head -c 2000 /dev/urandom | curl -sk --data-binary @- "https://$NET.1:7444/v1/join" -o /dev/null -w "%{http_code}")" = 400 ]'
check "or is too large" eval '[ "$(head -c 200000 /dev/zero | curl -sk --data-binary @- "https://$NET.1:7444/v1/join" -o /dev/null -w "%{http_code}")" = 413 ]'

# ---- twice at once: one gets it
for i in 1 2 3; do
    (OUT=$SIM_FOLDER/twice$i join "$T" hv4 >"$WORK/twice$i" 2>&1 || :) &
done
wait
check "of three at once one is answered" eval '[ "$(cat "$SIM_FOLDER"/twice*/skein/host.pem | grep -c "BEGIN CERT")" = 2 ]'
check "the others are told that it was used" eval '[ "$(cat "$WORK"/twice* | grep -c "^error: CONFLICT: .*used already")" = 2 ]'
check "and so is who comes later" refused CONFLICT "$T" hv4
check "the list says so" eval 'skein token list -o json | jq -e ".tokens[] | select(.status == \"used\" and .host == \"hv4\") | .used.issuer == \"hv1\""'
refusals() { for h in hv1 hv2 hv3; do EYE=$h skein audit list --limit 1000 -o json; done | jq -s "[.[].entries[].record | select(.event == \"$1\")]"; }
check "the refusals are in the audit, with their codes" eval 'refusals certificates.refused | jq -e "map(.code) | unique | contains([\"CONFLICT\", \"DENIED\", \"EXPIRED\", \"INVALID\", \"NOT_FOUND\"])"'
check "one set of certificates was issued" eval '[ "$(refusals certificates.issued | jq "map(select(.of == \"hv4\")) | length")" = 1 ]'

# ---- a member
mv "$(dirname "$(dirname "$(ls -d "$SIM_FOLDER"/twice*/skein/host.pem)")")" "$STATE/hosts/hv4/pki"
check "its certificate stands under the root, by the issuer's" openssl verify -CAfile "$ROOT" \
    -untrusted "$STATE/hosts/hv4/pki/skein/host.pem" "$STATE/hosts/hv4/pki/skein/host.pem"
check "its agent starts" sim agent start hv4
for h in hv1 hv2 hv3; do
    check "$h knows it" wait_until 30 state_is "$h" hv4 up
done
guest=$(world | jq -r '[.guests[] | select(.host != "hv4")][0].name')
# shellcheck disable=SC2046
check "a move to it is asked for" skein migrate "$guest" hv4 $(as operator)
check "whose plan waits" wait_until 20 plan_waits user
# shellcheck disable=SC2046
check "and is approved" skein plan approve "$(cat "$WORK/plan")" --yes --wait=60 $(as approver)
check "the guest is there" wait_until 20 guest_on "$guest" hv4
check "its audit is cosigned by the others" wait_until 30 eval 'EYE=hv4 skein audit verify'

# ---- its certificates are renewed, by those that it holds
OWN=$STATE/hosts/hv4/pki
of_own() { openssl x509 -noout "$@" -in "$OWN/skein/host.pem"; }
rotate() { tool cert rotate --directory "$OWN" --from "$NET.1:7444" "$@"; }
hup() { kill -HUP "$(awk '{ print $1; exit }' "$STATE/hosts/$1/agent")"; }
losses() { grep -c "link to hv4 is down" "$STATE"/hosts/hv[123]/agent.log || :; }
before=$(of_own -serial) key=$(of_own -pubkey) lost=$(losses)
check "renewed" rotate
check "it is another certificate of the same key" eval '[ "$(of_own -serial)" != "$before" ] && [ "$(of_own -pubkey)" = "$key" ]'
check "and with a new key, too" rotate --new-keys
check "which is another one" eval '[ "$(of_own -pubkey)" != "$key" ]'
hup hv4
check "the agent takes it" wait_until 10 grep -q "certificates, revocations and roster are read again" "$STATE/hosts/hv4/agent.log"
check "and answers" wait_until 20 state_is hv1 hv4 up
check "no link was lost" eval '[ "$(losses)" = "$lost" ]'

openssl ecparam -name prime256v1 -genkey -noout -out "$WORK/new.key"
openssl genrsa -out "$WORK/rsa.key" 3072 2>/dev/null
for k in new rsa; do openssl req -new -key "$WORK/$k.key" -subj "/CN=hv1" -out "$WORK/$k.csr"; done
renewal() { # HOST [libvirt]: what is asked
    jq -cnS --arg h "$1" --rawfile a "$WORK/new.csr" --rawfile r "$WORK/rsa.csr" --arg more "${2-}" \
        '{schema: "skein.join/1", host: $h, requests: ({agent: $a} + if $more == "" then {} else {libvirt: $r, qemu: $r} end)}'
}
asks() { # CODE REQUEST CURL-ARGUMENTS...
    curl -sk --max-time 20 --data-binary "$2" "${@:3}" "https://$NET.1:7444/v1/renew" | tee "$WORK/said"
    jq -e --arg c "$1" '.error.code == $c' "$WORK/said"
}
with_own=(--cert "$OWN/skein/host.pem" --key "$OWN/skein/host.key")
check "without a certificate nothing is renewed" asks UNAUTHENTICATED "$(renewal hv4)"
check "nor in another host's name" asks DENIED "$(renewal hv1)" "${with_own[@]}"
check "nor keys for libvirt, which it never had" asks DENIED "$(renewal hv4 libvirt)" "${with_own[@]}"
check "nor by a person's certificate" asks UNAUTHENTICATED "$(renewal hv4)" --cert "$PEOPLE/admin.pem" --key "$PEOPLE/admin.key"

# ---- a host with libvirt: three certificates, as their readers look for them
FULL=$SIM_FOLDER/full
token hv7 --role host --dns hv7 --ip 10.0.0.7 >"$WORK/full"
check "it joins" eval 'tool join - --from "$NET.1:7444" --host hv7 --out "$FULL" <"$WORK/full"'
# libvirtd and QEMU check their own certificate by their authorities alone, and others' by what is shown with it.
sound() {
    openssl verify -CAfile "$FULL/CA/cacert.pem" "$FULL/libvirt/servercert.pem" &&
        openssl verify -CAfile "$FULL/qemu/ca-cert.pem" "$FULL/qemu/server-cert.pem" &&
        openssl verify -CAfile "$ROOT" -untrusted "$FULL/libvirt/servercert.pem" -verify_hostname hv7 "$FULL/libvirt/servercert.pem" &&
        openssl verify -CAfile "$ROOT" -untrusted "$FULL/qemu/server-cert.pem" -verify_ip 10.0.0.7 "$FULL/qemu/client-cert.pem"
}
check "all of them verify" sound
before=$(openssl x509 -noout -serial -in "$FULL/libvirt/servercert.pem")
check "it renews them" tool cert rotate --directory "$FULL" --from "$NET.1:7444"
check "libvirt's too" eval '[ "$(openssl x509 -noout -serial -in "$FULL/libvirt/servercert.pem")" != "$before" ]'
check "and they verify" sound

# ---- and out again: what an issuer made is revoked by its file
copies=("$STATE"/hosts/hv1/state/issued/hv4.*.pem)
check "the issuer kept a copy of each" eval '[ ${#copies[@]} = 3 ]'
check "they are revoked" tool cert revoke --directory "$PKI" "${copies[@]}"
cp "$PKI/crl.pem" "$STATE/hosts/hv3/pki/skein/crl.pem"
chmod a+r "$STATE/hosts/hv3/pki/skein/crl.pem"
hup hv3
for h in hv1 hv3; do
    check "revoked, it is out for $h" wait_until 30 eval "fails state_is $h hv4 up"
done
check "and renews nothing" exits 1 rotate

# ---- a revoked issuer: its agent goes on without that door
tool cert revoke --directory "$PKI" "$STATE/hosts/hv1/issuer/issuer.pem" >/dev/null
sim agent stop hv1
cp "$PKI/crl.pem" "$STATE/hosts/hv1/pki/skein/crl.pem"
chmod a+r "$STATE/hosts/hv1/pki/skein/crl.pem"
check "the agent of a revoked issuer starts" sim agent start hv1
check "and says what it does not do" grep -q "no certificates are issued here.*revoked" "$STATE/hosts/hv1/agent.log"
check "nobody answers at that door" eval 'exits 7 curl -sk "https://$NET.1:7444/v1/join"'
check "it is a member as before" wait_until 30 state_is hv3 hv1 up
check "all guests are well" all_guests_well
