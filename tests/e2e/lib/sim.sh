# shellcheck shell=bash
# sim.sh - what tests on simulated hosts share. Source lib.sh first. All of it runs without privilege: as nobody, when
# the test is run as root.

SIM_FOLDER=$(mktemp -d /tmp/skein-sim-test.XXXXXX)
PEOPLE=$SIM_FOLDER/clusters/${SKEIN_SIM:-test}/people
at_exit rm -rf "$SIM_FOLDER"
if [ "$(id -u)" = 0 ] && setpriv --reuid=65534 --regid=65534 --clear-groups test -r "$REPO/deploy/sim" -a -x "${SKEIN_BUILD:-$REPO/build}/bin/skein"; then
    chown 65534:65534 "$SIM_FOLDER"
    unprivileged() {
        setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs "$@"
    }
else
    unprivileged() { "$@"; }
fi

# as_user CMD...: its files are below SIM_FOLDER
as_user() {
    unprivileged env HOME="$SIM_FOLDER" TMPDIR="$SIM_FOLDER" SKEIN_SIM_ROOT="$SIM_FOLDER/clusters" \
        SKEIN_SIM="${SKEIN_SIM:-test}" SKEIN_BUILD="${SKEIN_BUILD:-$REPO/build}" "$@"
}

sim() { as_user "$REPO/deploy/sim" "$@"; }

# Told here and not by sim_of_own, which a check runs in a shell of its own.
at_exit sim_end
sim_end() {
    sim status >/dev/null 2>&1 || return 0
    sim_logs
    sim down
}

# sim_of_own ARGUMENTS...: a cluster for this test, with a planner
sim_of_own() {
    sim up "$@"
    hosts_named | tail -n 1 >"$WORK/eye" # through whose agent we look: of six hosts and more it does not vote
    wait_until 60 planner_known
}

# When something failed, the agents' last words are worth more than silence.
sim_logs() {
    local host
    ((_failed > 0)) || return 0
    for host in $(hosts_named) world; do
        note "last lines of $host:"
        sim log "$host" 2>&1 | tail -n 30 | sed 's/^/#   /'
    done
}

world() { sim ctl status -o json; }
hosts_named() { world | jq -r '.hosts[].name'; }
skein() { # through a proxy, when the exchanges are judged
    local eye=${EYE:-$(cat "$WORK/eye")}
    if [ -n "${SKEIN_API_PROXY-}" ]; then
        ln -sfn "$SIM_FOLDER/clusters/${SKEIN_SIM:-test}/hosts/$eye/agent.sock" "$SKEIN_API_PROXY/agent.sock"
        as_user env SKEIN_SOCKET="$SKEIN_API_PROXY/skein.sock" "${SKEIN_BUILD:-$REPO/build}/bin/skein" "$@"
    else
        sim skein "$eye" "$@"
    fi
}
as() { printf -- '--key %s/%s.key --cert %s/%s.pem' "$PEOPLE" "$1" "$PEOPLE" "$1"; }

planner_now() { skein status -o json | jq -r '.planner.host // empty'; }
planner_known() { [ -n "$(planner_now)" ]; }
planner_other_than() {
    local now
    now=$(planner_now)
    [ -n "$now" ] && [ "$now" != "$1" ]
}

# guests_known N: the planner and EYE know so many running VMs
guests_known() { [ "$(skein vms -o json | jq '[.vms[] | select(.state == "running")] | length')" = "$1" ]; }

# plan_waits [CLASS]: writes the first one's id to WORK/plan
plan_waits() {
    skein plan list -o json | jq -re --arg c "${1-}" \
        'first(.plans[] | select(.state == "PENDING_APPROVAL" and ($c == "" or .class == $c)) | .id)' >"$WORK/plan"
}
plan_state() { skein plan show "$1" -o json | jq -r .state; }
plan_is() {
    local now
    now=$(plan_state "$1")
    echo "plan $1 is $now"
    [ "$now" = "$2" ]
}
plan_ended() { [[ $(plan_state "$1") =~ ^(SUCCEEDED|PARTIAL|FAILED|CANCELLED|ROLLED_BACK|SUPERSEDED|EXPIRED|REJECTED)$ ]]; }

guest_host() { world | jq -r --arg g "$1" '.guests[] | select(.name == $g) | .host // "nowhere"'; }
guest_on() { # GUEST HOST: there and only there
    world | jq -e --arg g "$1" --arg h "$2" '.guests[] | select(.name == $g) | .host == $h and .running == 1 and .defined == []'
}
guest_moves() { world | jq -e --arg g "$1" '.guests[] | select(.name == $g) | .moving_to != null'; }

# Nothing of what agents do may double, lose or restart a guest.
all_guests_well() {
    world | jq -e '[.guests[] | select(.running != 1 or .starts != 1) | .name] | if . == [] then true else ., false end'
}
