# shellcheck shell=bash
# lab.sh - what tests on real hypervisors share; see deploy/lab. Source lib.sh first.

# lab_of_own HOSTS...: a lab for this test alone, which goes when the test ends. Arguments are those of `lab up`.
lab_of_own() {
    export SKEIN_LAB=${SKEIN_LAB:-e2e-$$}
    at_exit lab down
    lab up --hosts "$@"
}

virsh_on() {
    local host=$1
    shift
    lab exec "$host" virsh -q -c qemu:///system "$@"
}

# migrate_by_virsh GUEST FROM TO OPTIONS...: as a careful operator would, without any unsafe flag.
migrate_by_virsh() {
    local guest=$1 from=$2 to=$3
    shift 3
    virsh_on "$from" migrate "$guest" "qemu+tls://$to/system" --migrateuri "tcp://10.78.0.${to#hv}" \
        --live --p2p --tls --persistent --undefinesource "$@"
}

# guest_is GUEST HOST [STATE]
guest_is() {
    lab guest list | awk -v name="$1" -v host="$2" -v state="${3:-running}" \
        '$1 == name { seen++; where = $2; sub(/^[^ ]+ +[^ ]+ +/, ""); what = $0 }
        END { exit !(seen == 1 && where == host && what ~ "^" state " *$") }'
}

# heartbeat GUEST FIELD: counter, starts, longest_gap_ms, silent_ms or overlaps
heartbeat() {
    lab guest counter "$1" -o json | jq -r ".$2"
}

counts_beyond() { (($(heartbeat "$1" counter) > $2)); }

# beats_on GUEST: it lives, in one copy that was started once.
beats_on() {
    wait_until 1 counts_beyond "$1" "$(heartbeat "$1" counter)" &&
        (($(heartbeat "$1" starts) == 1 && $(heartbeat "$1" overlaps) == 0)) || {
        lab guest counter "$1"
        return 1
    }
}

# reaches HOST ADDRESS PORT
reaches() {
    # shellcheck disable=SC2016
    lab exec "$1" timeout 1 bash -c ': </dev/tcp/$1/$2' - "$2" "$3" 2>/dev/null
}

# celsius HOST cpu|inlet
celsius() {
    lab status -o json | jq -r --arg host "$1" ".hosts[] | select(.name == \$host) | .$2_celsius"
}

# warmer HOST SENSOR LIMIT; cooler HOST SENSOR LIMIT
warmer() {
    awk -v is="$(celsius "$1" "$2")" -v limit="$3" 'BEGIN { print is; exit !(is > limit) }'
}

cooler() {
    awk -v is="$(celsius "$1" "$2")" -v limit="$3" 'BEGIN { print is; exit !(is < limit) }'
}
