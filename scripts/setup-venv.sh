#!/usr/bin/env bash
# Make a virtual environment with Everstep in it: setup-venv.sh DIRECTORY [GROUP]
# Without GROUP what the server needs; with "dev" what the tests need, too.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$1
group=${2:-}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            echo "$candidate"
            return
        fi
    done
    echo "Everstep needs Python 3.11 or newer; PYTHON=/path/to/python names one." >&2
    return 1
}

if [ ! -x "$venv/bin/pip" ]; then
    python=$(find_python)
    # Debian and Ubuntu leave ensurepip, and with it working environments, to a package of its own.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        package="python$version-venv"
        if ! command -v apt-get >/dev/null; then
            echo "$python has no venv module; install it with your system's packages." >&2
            exit 1
        elif [ "$(id -u)" = 0 ]; then
            echo "installing $package"
            { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y "$package"; } >/dev/null
        else
            echo "$python has no venv module: sudo apt-get install $package" >&2
            exit 1
        fi
    fi
    echo "making $venv"
    "$python" -m venv "$venv"
fi

export PIP_DISABLE_PIP_VERSION_CHECK=1
pip=("$venv/bin/python" -m pip --quiet)
echo "installing Everstep${group:+ and its $group tools} into $venv"
# Dependency groups came with pip 25.1.
"${pip[@]}" install --upgrade 'pip>=25.1'
# setuptools warns of every editable install; this is one on purpose.
PYTHONWARNINGS=ignore "${pip[@]}" install --constraint constraints.txt --editable . ${group:+--group "$group"}
