# Sourced by the scripts beside it: $1 is the program, $2 the source folder.
set -u
skein=$1 src=$2
policies=$src/policies snapshots=$src/tests/lua/snapshots
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
failed=0

fail() {
    echo "FAILED: $*" >&2
    failed=1
}

# make NAME POLICY SNAPSHOT [OPTION]...: the plan in $tmp/NAME.json
make() {
    local name=$1 policy=$2 snapshot=$3
    shift 3
    "$skein" plan make --policy "$policy" --snapshot "$snapshot" -o json "$@" >"$tmp/$name.json" ||
        fail "$name: plan make"
}

# get NAME FILTER: what jq says of the plan
get() {
    jq -r "$2" "$tmp/$1.json"
}

# is NAME FILTER WANT
is() {
    local got
    got=$(get "$1" "$2")
    [ "$got" = "$3" ] || fail "$1: $2 is '$got', wanted '$3'"
}

# edit FROM TO FILTER: another snapshot in $tmp/TO.snapshot
edit() {
    jq "$3" "$snapshots/$1.json" >"$tmp/$2.snapshot" || fail "edit $2"
}
