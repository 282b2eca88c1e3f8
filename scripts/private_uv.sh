#!/usr/bin/env bash
# Print the path of the pinned uv, made in .cache/uv when it is not there yet.
#
#   LAMELLA_PYTHON   the Python 3.11 to use (default: python3.11 on the PATH)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

UV=.cache/uv/bin/uv
STAMP=.cache/uv/made-from
want=$(sha256sum envs/uv.lock | cut -d' ' -f1)
if [ ! -x "$UV" ] || [ "$(cat "$STAMP" 2>/dev/null)" != "$want" ]; then
    rm -rf .cache/uv
    "${LAMELLA_PYTHON:-python3.11}" -m venv .cache/uv
    .cache/uv/bin/pip install -qq --disable-pip-version-check --require-hashes -r envs/uv.lock >&2
    echo "$want" >"$STAMP"
fi
echo "$UV"
