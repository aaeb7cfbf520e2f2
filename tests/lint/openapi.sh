#!/usr/bin/env bash
# docs/openapi.json and the agent's table of routes name the same paths and methods.
set -eu
cd "$(dirname "$0")/../.."

# Those of the table, "*" being a variable segment; and those that the shell adds.
routes() {
    sed -n 's/^ *{"\([A-Z]*\)", "\(\/[^"]*\)",.*/\1 \2/p' agent/core/api.c
    printf '%s\n' "GET /v1/doctor" "GET /v1/doctor/*" "GET /metrics"
}
documented() {
    jq -r '.paths | to_entries[] | .key as $p | .value | keys[] | "\(ascii_upcase) \($p)"' docs/openapi.json |
        sed 's/{[^}]*}/*/g'
}
if ! diff <(routes | sort -u) <(documented | sort -u); then
    echo "docs/openapi.json: \"<\" stands only in agent/core/api.c, \">\" only in the document"
    exit 1
fi
# Each reference leads somewhere.
jq -e '[.. | objects | .["$ref"]? // empty | ltrimstr("#/components/schemas/")] - (.components.schemas | keys) == []' \
    docs/openapi.json >/dev/null || { echo "docs/openapi.json: a reference leads nowhere" && exit 1; }
echo "openapi: $(documented | wc -l) operations, all served"
