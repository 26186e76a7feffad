#!/usr/bin/env bash
# A server for the tests of the MongoDB store: setup-test-mongo.sh [DIRECTORY]
# SecantusDB speaks MongoDB's protocol over WiredTiger. It is under the GPL and a pre-release, so it gets a virtual
# environment of its own and runs as a process of its own: no code of ours imports it, nothing of it is shipped.
# Never fails: it says what will be skipped, and why. A file named "failed" keeps that for the tests to print.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${1:-.venv-mongo}
version=0.7.0b3
[ "$(cat "$venv/version" 2>/dev/null)" = "$version" ] && exit 0

skip() {
    mkdir -p "$venv"
    echo "$1" >"$venv/failed"
    echo "SKIPPING the tests against a MongoDB server: $1"
    exit 0
}

python=${PYTHON:-.venv/bin/python}
command -v "$python" >/dev/null || python=python3
echo "making $venv: a server for the tests of the MongoDB store"
"$python" -m venv --clear "$venv" >/dev/null 2>&1 || skip "$python cannot make a virtual environment"
PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip --quiet install --only-binary :all: "secantusdb==$version" \
    >"$venv/install.log" 2>&1 || skip "secantusdb $version cannot be installed; see $venv/install.log"
echo "$version" >"$venv/version"
