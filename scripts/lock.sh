#!/usr/bin/env bash
# Write envs/*.lock anew from envs/*.in: names, exact versions and hashes, no address of any index.
# Versions that still satisfy envs/*.in are kept; "make lock UPGRADE=--upgrade" takes the newest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

UV=$(scripts/private_uv.sh)
for name in uv lamella onnx2tf; do
    "$UV" pip compile -q "$@" --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
        --generate-hashes --no-header --no-emit-index-url "envs/$name.in" -o "envs/$name.lock"
done
