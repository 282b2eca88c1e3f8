#!/usr/bin/env bash
# Check that system packages are here; name those that are not, with the line that installs them.
#
#   scripts/system_packages.sh [--wanted] PYTHON NAME...
#
#   NAME       g++ make cmake python-headers python-venv postgresql mpirun, or a daemon or command
#              of SLURM, munge or MariaDB
#   --wanted   go on without them: tests that need them are skipped, and say so
#
# With LAMELLA_APT=1, on Debian or Ubuntu and as root, missing packages are installed. Without it
# nothing outside the project's folder and the cache is ever changed.
set -euo pipefail

without=2 goal=setup # exit code without them, and what installs them
if [ "$1" = --wanted ]; then
    without=0 goal=test
    shift
fi
PYTHON=$1
shift
PATH=$PATH:/usr/sbin:/sbin # where daemons are

here() {
    case $1 in
    python-headers) "$PYTHON" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' ;;
    postgresql) compgen -G '/usr/lib/postgresql/*/bin/initdb' || command -v initdb ;;
    python-venv) "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

debian_name() {
    case $1 in
    python-headers) echo python3.11-dev ;;
    python-venv) echo python3.11-venv ;;
    mpirun) echo openmpi-bin ;;
    sbatch) echo slurm-client ;;
    munged) echo munge ;;
    mariadbd) echo mariadb-server ;;
    *) echo "$1" ;;
    esac
}

missing=()
for name in "$@"; do
    here "$name" >/dev/null || missing+=("$(debian_name "$name")")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "${LAMELLA_APT:-}" = 1 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "[system] installing ${missing[*]}" >&2
    # Debian's packages would start services of their own.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy
        trap 'rm -f $policy' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    # Another apt may be at work, and a mirror away for a moment.
    apt_get() { apt-get -qq -o DPkg::Lock::Timeout=600 -o Acquire::Retries=5 "$@" >&2; }
    apt_get update && apt_get install -y --no-install-recommends "${missing[@]}" && exit 0
    echo "[system] apt-get could not install ${missing[*]}" >&2
    exit $without
fi
{
    echo "[system] missing: ${missing[*]}"
    echo "[system] install with: sudo apt-get install -y ${missing[*]}"
    echo "[system] or, as root, let this be done for you: LAMELLA_APT=1 make $goal"
} >&2
exit $without
