#!/usr/bin/env bash
# What the tests need beside Python: Chromium, Redis and Node from the system's packages, where we may install them.
# Never fails for want of one: it says what will be skipped, and why.
set -euo pipefail

"$(dirname "$0")/setup-test-mongo.sh"

# name of the package | commands, any of which will do | what is skipped without it
wanted=(
    "chromium|chromium chromium-browser google-chrome google-chrome-stable|the browser tests"
    "redis-server|redis-server|the tests against Redis"
    "nodejs|node nodejs|the tests of the JavaScript client under Node"
)

has_any() {
    local command
    for command in $1; do
        command -v "$command" >/dev/null && return 0
    done
    return 1
}

missing=()
for line in "${wanted[@]}"; do
    IFS='|' read -r package commands _ <<<"$line"
    has_any "$commands" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

why="it is not installed, and"
install=()
if ! command -v apt-get >/dev/null; then
    why="$why this system has no apt-get to install it with"
elif [ "$(id -u)" = 0 ]; then
    install=(env DEBIAN_FRONTEND=noninteractive apt-get)
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    install=(sudo -n env DEBIAN_FRONTEND=noninteractive apt-get)
else
    why="$why only root may install it: sudo apt-get install ${missing[*]}"
fi

if [ ${#install[@]} -gt 0 ]; then
    echo "installing ${missing[*]}"
    why="$why apt-get could not install it"
    "${install[@]}" -qq update >/dev/null 2>&1 || true
    for package in "${missing[@]}"; do
        # One by one: a package that is not to be had must not keep the others out.
        # A service that cannot start in a container is no failure: the tests start their own.
        "${install[@]}" -qq install -y --no-install-recommends "$package" >/dev/null 2>&1 || true
    done
fi

for line in "${wanted[@]}"; do
    IFS='|' read -r package commands skipped <<<"$line"
    has_any "$commands" || echo "SKIPPING $skipped: needs $package; $why"
done
