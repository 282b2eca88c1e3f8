#!/usr/bin/env bash
# Print the Python of onnx2tf's environment, made in .cache/onnx2tf when it is not there yet.
#
#   LAMELLA_PYTHON   the Python 3.11 to use (default: that of .venv)
#   UV_*, PIP_INDEX_URL, PIP_CERT   where packages come from, if not from the public registry
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PLACE=.cache/onnx2tf
STAMP=$PLACE/made-from
say() { printf '[onnx2tf] %s\n' "$*" >&2; }
tell_remedy() {
    say "error: the environment cannot be made, for the reason above. Run scripts/onnx2tf.sh where there is internet or as docs/first-run-on-a-cluster.md says, or take tensorflow out of parity.engines and benchmark.engines. Then delete results/export/onnx2tf.txt, where a run has left it empty"
}
want=$(cat envs/onnx2tf.lock scripts/onnx2tf.sh | sha256sum | cut -d' ' -f1)
is_made() { [ -x $PLACE/bin/python ] && [ "$(cat $STAMP 2>/dev/null)" = "$want" ]; }

if ! is_made; then
    mkdir -p .cache
    exec 9>.cache/onnx2tf.lock
    flock 9
    if ! is_made; then
        trap tell_remedy ERR
        PYTHON=${LAMELLA_PYTHON:-$(.venv/bin/python -c 'import sys; print(sys._base_executable)')}
        export LAMELLA_PYTHON=$PYTHON
        . scripts/fetching.bash
        say "making onnx2tf's environment, once ..."
        UV=$(scripts/private_uv.sh)
        rm -rf $PLACE
        "$UV" venv -q --python "$PYTHON" $PLACE
        "$UV" pip sync -q --compile-bytecode --python $PLACE/bin/python --require-hashes envs/onnx2tf.lock
        echo "$want" >$STAMP
        say "made: $(du -sh $PLACE | cut -f1) in $PLACE"
    fi
fi
echo "$PWD/$PLACE/bin/python"
