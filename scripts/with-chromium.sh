#!/usr/bin/env bash
# Run a command with CHROMIUM naming the system's browser; without a browser say so and succeed.
set -euo pipefail

for candidate in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null; then
        CHROMIUM=$(command -v "$candidate") exec "$@"
    fi
done
echo "SKIPPED: no Chromium on this machine"
