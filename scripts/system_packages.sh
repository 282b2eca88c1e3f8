#!/usr/bin/env bash
# Check that system packages are here; name those that are not, with the line that installs them.
#
#   scripts/system_packages.sh PYTHON NAME...      NAME: g++ make cmake python-headers python-venv
#
# With LAMELLA_APT=1, on Debian or Ubuntu and as root, missing packages are installed. Without it
# nothing outside the project's folder and the cache is ever changed.
set -euo pipefail

PYTHON=$1
shift

here() {
    case $1 in
    python-headers) "$PYTHON" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' ;;
    python-venv) "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

debian_name() {
    case $1 in
    python-headers) echo python3.11-dev ;;
    python-venv) echo python3.11-venv ;;
    *) echo "$1" ;;
    esac
}

missing=()
for name in "$@"; do
    here "$name" || missing+=("$(debian_name "$name")")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "${LAMELLA_APT:-}" = 1 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "[system] installing ${missing[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends "${missing[@]}"; } >&2
    exit 0
fi
{
    echo "[system] missing: ${missing[*]}"
    echo "[system] install with: sudo apt-get install -y ${missing[*]}"
    echo "[system] or, as root, let this be done for you: LAMELLA_APT=1 make setup"
} >&2
exit 2
