#!/usr/bin/env bash
# Style: clang-format for C, shellcheck for scripts, luacheck for policies.
set -eu
cd "$(dirname "$0")/../.."
bad=0

command -v clang-format-14 >/dev/null || { echo "style: clang-format-14 is missing" && exit 1; }
mapfile -t c_files < <(git ls-files '*.c' '*.h')
clang-format-14 --dry-run -Werror "${c_files[@]}" 2>&1 | grep -E '^[^ ]+:[0-9]+' | sort -u -t: -k1,1 | sed 's/: error.*/: not as clang-format-14 would have it/' | sed -n 1,20p >/tmp/skein-style.$$ || true
if [ -s /tmp/skein-style.$$ ]; then
    cat /tmp/skein-style.$$
    bad=1
fi
rm -f /tmp/skein-style.$$

mapfile -t scripts < <(git ls-files | while read -r file; do
    [ -f "$file" ] || continue
    case $file in
    *.sh) echo "$file" ;;
    *.*) ;;
    *) [[ $(head -c 20 "$file" | tr -d '\0') != '#!/usr/bin/env bash'* ]] || echo "$file" ;;
    esac
done)
# SC1091, SC2154, SC2034: parts are sourced at run time.
shellcheck -s bash -x -S warning -e SC1091,SC2154,SC2034 "${scripts[@]}" || bad=1

# Under pipefail, who stops reading early fails the pipe, by SIGPIPE, whenever the writer is slower.
if grep -nE '\| *(head|grep( +-[^ ]+)* +-[a-zA-Z]*q)\b' -- "${scripts[@]}" | grep -vE '^tests/l(ua|int)/'; then
    echo "style: a part of a pipe stops reading early; has (tests/e2e/lib/lib.sh) and sed -n 1p read all"
    bad=1
fi

# api.lua only declares, for editors.
mapfile -t policies < <(git ls-files 'policies/*.lua' ':!policies/api.lua')
luacheck -q --no-color --std lua54 --codes --no-unused-args --no-max-line-length \
    --globals policy reject allow wait deny duration given expect fleet test unknown -- "${policies[@]}" || bad=1

[ $bad = 0 ] && echo "style: ${#c_files[@]} C files, ${#scripts[@]} scripts, ${#policies[@]} Lua files"
exit $bad
