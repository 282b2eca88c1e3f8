#!/usr/bin/env bash
# Print the path of a Horovod wheel that fits the PyTorch and TensorFlow installed in a Python.
#
#   scripts/build_horovod.sh PYTHON CACHE
#
# The wheel is built when CACHE/wheels/ does not hold it yet; that takes 3 to 7 minutes on two
# cores. No newer release of Horovod exists than 0.28.1, whose sources do not compile against
# today's frameworks; the edits below mend that. The wheel speaks gloo and needs no MPI.
#
#   LAMELLA_BUILD_JOBS   compile jobs at one time, about 2 GB each (default: what the machine has)
#   LAMELLA_APT=1        install missing Debian packages (see scripts/system_packages.sh)
set -euo pipefail

VERSION=0.28.1
SHA256=92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PYTHON=${1:?the Python to build for}
CACHE=${2:?the folder that keeps the wheel}

say() { printf '[horovod] %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# ---- the key of the cached wheel: everything that its binary code depends on ----------------
frameworks=$("$PYTHON" - <<'PY'
import importlib.metadata as metadata, platform, sys

def release() -> str:
    try:
        facts = platform.freedesktop_os_release()
    except OSError:
        return platform.system()
    return facts["ID"] + facts.get("VERSION_ID", "")

tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
versions = [f"{name}{metadata.version(name)}" for name in ("torch", "tensorflow")]
print("-".join([tag, *versions, "gloo", release(), platform.machine()]))
PY
) || die "torch and tensorflow must be installed for $PYTHON before Horovod is built"
script=$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-12)
SHELF="$CACHE/wheels/$frameworks-$script"

cached() { find "$SHELF" -maxdepth 1 -name "horovod-$VERSION-*.whl" 2>/dev/null | head -n 1; }
mkdir -p "$CACHE/wheels"
exec 8>"$CACHE/wheels/lock"
flock -n 8 || { say "another build is at work, waiting for it"; flock 8; }
if [ -n "$(cached)" ]; then cached; exit 0; fi

# ---- tools ------------------------------------------------------------------------------------
"$HERE/system_packages.sh" "$PYTHON" g++ make cmake python-headers

WORK=$(mktemp -d "${TMPDIR:-/tmp}/lamella-horovod.XXXXXX")
trap 'rm -rf "$WORK"' EXIT
started=$SECONDS

# ---- source: pinned by hash -------------------------------------------------------------------
say "fetching the source of horovod $VERSION"
printf 'horovod==%s --hash=sha256:%s\n' "$VERSION" "$SHA256" >"$WORK/source.txt"
"$PYTHON" -m pip download -q --require-hashes --no-deps --no-build-isolation \
    --no-binary horovod -r "$WORK/source.txt" -d "$WORK" >"$WORK/download.log" 2>&1 ||
    { cat "$WORK/download.log" >&2; die "the source could not be fetched"; }
"$PYTHON" -m tarfile -e "$WORK/horovod-$VERSION.tar.gz" "$WORK"

# ---- edits: one that does not apply is an error -------------------------------------------------
"$PYTHON" - "$WORK/horovod-$VERSION" <<'PY'
import importlib.util
import re
import sys
from pathlib import Path

source = Path(sys.argv[1])


def edit(name: str, before: str, after: str) -> None:
    """Replace exactly one place of one file."""
    path = source / name
    text, places = re.subn(before, after, path.read_text(encoding="utf-8"))
    if places != 1:
        sys.exit(f"[horovod] error: {name}: expected one place like {before!r}, found {places}")
    path.write_text(text, encoding="utf-8")


def torch_standard() -> str:
    """Return the C++ standard that torch's headers ask for: 17 up to 2.13, 20 from 2.15."""
    spec = importlib.util.find_spec("torch")
    headers = Path(spec.submodule_search_locations[0]) / "include/torch/csrc/api/include/torch"
    asked = re.findall(r"#error C\+\+(\d+) or later", (headers / "all.h").read_text())
    return max(asked, key=int, default="17")


standard = torch_standard()
print(f"[horovod] torch asks for C++{standard}", file=sys.stderr)
for name in ("CMakeLists.txt", "horovod/torch/CMakeLists.txt"):
    edit(name, r"set\(CMAKE_CXX_STANDARD 14\)", f"set(CMAKE_CXX_STANDARD {standard})")
# The registry's torch is a CUDA build. Beside any nvcc on the PATH it would make CMake ask for the
# whole CUDA toolkit, though only CPU operations are built: let CMake see a CPU build.
edit(
    "cmake/Modules/FindPytorch.cmake",
    r'print\(True if \(\(torch\.version\.cuda is not None\).*else False\)"',
    'print(False)"',
)
# What carries the gradients did not know the network that the ranks shall take, and took the one that
# the machine's own name leads to: often loopback (127.0.1.1), on which no other node is reached.
edit(
    "horovod/common/gloo/gloo_context.cc",
    r"(assuming single process execution\";\n  \}\n)(?=\n  attr device_attr;\n  device_attr\.iface = gloo_iface_;\n"
    r"  device_attr\.ai_family = AF_UNSPEC;\n  auto dev = CreateDevice\(device_attr\);\n\n  global_ctx)",
    r"\1  gloo_iface_ = global_context.gloo_iface_;\n",
)
# This file holds GPU code alone, and wants headers that TensorFlow >= 2.19 no longer ships.
edit("horovod/tensorflow/CMakeLists.txt", r"\n[^\n]*xla_mpi_ops\.cc[^\n]*", "")
PY

# ---- build --------------------------------------------------------------------------------------
free_jobs() { awk -v cores="$(getconf _NPROCESSORS_ONLN)" \
    '/MemAvailable/ { jobs = int($2 / 2097152) } END { if (jobs < 1) jobs = 1; print (jobs < cores) ? jobs : cores }' \
    /proc/meminfo; }
JOBS=${LAMELLA_BUILD_JOBS:-$(free_jobs)}
LOG="$CACHE/wheels/build.log"
say "compiling for $frameworks with $JOBS jobs (log: $LOG)"
(
    cd "$WORK" # CMake and pip leave files where they run
    export HOROVOD_WITH_PYTORCH=1 HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITH_GLOO=1
    export HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITHOUT_MPI=1
    export MAKEFLAGS="-j$JOBS"
    export CMAKE_POLICY_VERSION_MINIMUM=3.5                                         # CMake 4: the bundled gloo asks for less
    export CXXFLAGS="${CXXFLAGS:-} -include cstdint -include stdexcept -include string" # GCC 13 and later
    export LDFLAGS="${LDFLAGS:-} -Wl,--strip-debug"                                # 65 MB of debug symbols otherwise
    "$PYTHON" -m pip wheel -v --no-deps --no-build-isolation --no-cache-dir \
        -w "$WORK/wheel" "$WORK/horovod-$VERSION" >"$LOG" 2>&1
) &
build=$!
while kill -0 "$build" 2>/dev/null; do
    sleep 5
    if [ $(((SECONDS - started) / 5 % 6)) -eq 5 ]; then
        say "still compiling, $((SECONDS - started)) s: $(grep -oE '\[ *[0-9]+%\]' "$LOG" | tail -n 1)"
    fi
done
wait "$build" || {
    grep -nE '(error|Error)' "$LOG" | cut -c1-240 | tail -n 20 >&2
    die "the build failed, see $LOG"
}

# ---- is everything inside? (horovodrun --check-build says yes even when an extension is missing) --
WHEEL=$(find "$WORK/wheel" -name "horovod-$VERSION-*.whl")
"$PYTHON" - "$WHEEL" <<'PY'
import sys, zipfile

names = zipfile.ZipFile(sys.argv[1]).namelist()
for framework in ("torch", "tensorflow"):
    if not any(name.startswith(f"horovod/{framework}/mpi_lib") for name in names):
        sys.exit(f"[horovod] error: the wheel has no extension for {framework}")
PY

# A wheel on the shelf is complete: it is copied beside it and renamed.
mkdir -p "$SHELF"
cp "$WHEEL" "$SHELF/.unfinished"
mv "$SHELF/.unfinished" "$SHELF/$(basename "$WHEEL")"
say "built in $((SECONDS - started)) s"
cached
