#!/usr/bin/env bash
# Make the environment .venv: exact versions from envs/lamella.lock, Horovod, and this package.
# Called by "make setup"; a second call finds everything done and ends at once.
#
#   scripts/setup.sh             make it
#   scripts/setup.sh --is-done   make nothing; exit code 1 when there is something to be done
#
#   LAMELLA_PYTHON   the Python 3.11 to use       (default: python3.11 on the PATH)
#   LAMELLA_CACHE    keeps the Horovod wheel      (default: $XDG_CACHE_HOME/lamella, ~/.cache/lamella)
#   LAMELLA_APT=1    install missing Debian packages, as root (default: only name them)
#   UV_*, PIP_INDEX_URL, PIP_CERT   where packages come from, if not from the public registry
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

STAMP=.venv/lamella-setup
UNFINISHED=.venv/lamella-setup-unfinished
say() { printf '[setup] %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
step() { # MESSAGE COMMAND...: run, and say how long it took
    local message=$1 began=$SECONDS
    shift
    say "$message ..."
    "$@"
    say "$message: $((SECONDS - began)) s"
}

# ---- is it done already? ----------------------------------------------------------------------
# The folder is part of the stamp because a virtual environment cannot be moved.
wanted=$({
    pwd
    cat envs/uv.lock envs/lamella.lock scripts/setup.sh scripts/private_uv.sh scripts/build_horovod.sh
    sed '/^# ---- lint/,$d' pyproject.toml # what follows are settings of the checks
} | sha256sum | cut -d' ' -f1)
done_already() { [ -x .venv/bin/python ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$wanted" ]; }
if done_already; then
    say "nothing to be done (.venv is what envs/lamella.lock says)"
    exit 0
fi
[ "${1:-}" != --is-done ] || exit 1
mkdir -p .cache
exec 9>.cache/setup.lock
flock -n 9 || { say "another set-up is at work in this folder, waiting for it"; flock 9; }
if done_already; then exit 0; fi

# ---- what the machine must have ---------------------------------------------------------------
PYTHON=${LAMELLA_PYTHON:-python3.11}
[ "$(uname -sm)" = "Linux x86_64" ] || die "envs/lamella.lock is for Linux on x86_64, this is $(uname -sm)"
PYTHON=$("$PYTHON" -c 'import sys; print(sys.executable) if sys.version_info[:2] == (3, 11) else sys.exit(1)' 2>/dev/null) ||
    die "no Python 3.11 as '$PYTHON'. Install it (Debian: sudo apt-get install -y python3.11 python3.11-venv python3.11-dev) or set LAMELLA_PYTHON"
export LAMELLA_PYTHON=$PYTHON
scripts/system_packages.sh "$PYTHON" python-venv g++ make cmake python-headers

# ---- where things go --------------------------------------------------------------------------
if [ -z "${LAMELLA_CACHE:-}" ]; then
    if [ -n "${XDG_CACHE_HOME:-}" ]; then LAMELLA_CACHE=$XDG_CACHE_HOME/lamella
    elif [ -n "${HOME:-}" ]; then LAMELLA_CACHE=$HOME/.cache/lamella
    else LAMELLA_CACHE=$PWD/.cache; fi
fi
[ -n "${HOME:-}${XDG_CACHE_HOME:-}" ] || export UV_CACHE_DIR=${UV_CACHE_DIR:-$PWD/.cache/uv-packages}
. scripts/fetching.bash

# ---- install ------------------------------------------------------------------------------------
began=$SECONDS
step "fetching uv" scripts/private_uv.sh >/dev/null
UV=$(scripts/private_uv.sh)

# An install that was cut off may have left half a package: start from nothing then.
if [ ! -x .venv/bin/python ] || [ -e "$UNFINISHED" ]; then
    step "making .venv with $("$PYTHON" -V)" "$UV" venv -q --clear --python "$PYTHON" .venv
fi
touch "$UNFINISHED"
# Python compiles a module at its first import where it may write beside it, and at every import where
# it may not, as in a container: many seconds of every job.
step "installing and compiling $(grep -c '^[a-zA-Z0-9].*==' envs/lamella.lock) packages" \
    "$UV" pip sync -q --compile-bytecode --python .venv/bin/python --require-hashes envs/lamella.lock
step "building Horovod, or finding it in $LAMELLA_CACHE" \
    scripts/build_horovod.sh "$PWD/.venv/bin/python" "$LAMELLA_CACHE" >.cache/horovod-wheel
"$UV" pip install -q --compile-bytecode --python .venv/bin/python --no-deps --no-index "$(cat .cache/horovod-wheel)"
"$UV" pip install -q --python .venv/bin/python --no-deps --no-index --no-build-isolation -e .

# ---- does it work? --------------------------------------------------------------------------------
# "import horovod.torch" succeeds without its extension; only then it has no init.
check() {
    .venv/bin/python -c "import horovod.$1 as h; assert hasattr(h, 'init')" 2>.cache/horovod-check ||
        { cat .cache/horovod-check >&2; die "Horovod does not work with $1; remove $LAMELLA_CACHE/wheels and set up again"; }
}
step "loading torch with Horovod" check torch
step "loading tensorflow with Horovod" check tensorflow
.venv/bin/lamella --help >/dev/null

rm -f "$UNFINISHED"
echo "$wanted" >"$STAMP"
say "ready in $((SECONDS - began)) s"
