#!/usr/bin/env bash
# The JavaScript client's tests under Node, without any package.
set -euo pipefail
cd "$(dirname "$0")/.."

node=$(command -v node || command -v nodejs || true)
if [ -z "$node" ]; then
    echo "SKIPPED: no Node on this machine"
    exit 0
fi
# By name: what a directory means to `node --test` differs between its versions.
mapfile -t files < <(find tests/js -name '*.test.js' -o -name '*.test.mjs' | sort)
[ ${#files[@]} -gt 0 ] || { echo "no tests in tests/js" >&2; exit 1; }
"$node" --test "${files[@]}"
