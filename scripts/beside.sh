#!/usr/bin/env bash
# Run stages one after the other, and beside them one that only computes, on what they leave of the processors:
# beside.sh TARGET STAGE...   (targets of the Makefile)
# What TARGET says comes after the rest, in one piece. The first stage that fails ends both.
set -euo pipefail
cd "$(dirname "$0")/.."

make=${MAKE:-make}
beside=$1
shift

said=$(mktemp)
# A process group of its own, so that it ends with all that it started.
set -m
nice -n 19 "$make" --no-print-directory "$beside" >"$said" 2>&1 </dev/null &
group=$!
set +m
trap 'kill -- "-$group" 2>/dev/null || true; rm -f "$said"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

echo "$beside runs beside the other stages; what it says comes after theirs"
"$make" --no-print-directory "$@"
status=0
wait "$group" || status=$?
cat "$said"
exit "$status"
