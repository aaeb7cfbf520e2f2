#!/usr/bin/env bash
# The manual is well-formed and complete: every command, configuration key and health check that the
# tables in the source have stands in it.
set -eu
cd "$(dirname "$0")/../.."
bad=0

if command -v mandoc >/dev/null; then
    # Our own pages need not be installed to refer to each other.
    if mandoc -T lint -W style deploy/man/*.[0-9] | grep -v 'referenced manual not found: Xr skein'; then
        bad=1
    fi
else
    echo "mandoc is missing: the pages' form is not checked"
fi

# needs PAGE WORD: the page has the word as the argument of a macro
needs() {
    words=$((words + 1))
    grep -qE "^\.(It .*|Ic |Dv )*(.*[ ,|])?${2//./\\.}( |$)" "deploy/man/$1" || {
        echo "deploy/man/$1: $2 is not described"
        bad=1
    }
}

# table FILE: it has given words since the last one
words=0
table() {
    [ $words != 0 ] || { echo "$1: no table is found in it" && bad=1; }
    words=0
}

while read -r word; do
    needs skein.1 "$word"
done < <(sed -nE 's/^    \{"([a-z]+)", ".*", cmd_.*/\1/p' agent/ctl/commands.c)
table agent/ctl/commands.c
while read -r key; do
    needs skein-agent.conf.5 "${key#.}"
done < <(sed -nE 's/^    (STRINGS?|INT|NUMBER)\("([a-z]*)", "([a-z_]+)".*/\2.\3/p' agent/io/config.c)
table agent/io/config.c
while read -r check; do
    needs skein-agent.8 "SKEIN_$check"
done < <(sed -nE 's/^    X\(([A-Z_]+), "(error|warning)"\).*/\1/p' agent/core/api_status.c)
table agent/core/api_status.c
while read -r word; do
    needs skein-sim.1 "$word"
done < <(sed -nE 's/^    "  ([a-z-]+) .*/\1/p' agent/sim/ctl.c)
table agent/sim/ctl.c
while read -r option; do
    needs skein-sim.1 "Fl $option"
done < <(sed -nE 's/^    \{"([a-z-]+)", (required|no)_argument, .*/\1/p' agent/sim/main.c)
table agent/sim/main.c

[ $bad = 0 ] && echo "manual: well-formed, nothing is missing"
exit $bad
