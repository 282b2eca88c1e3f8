#!/usr/bin/env bash
# Build the image with every container engine that runs here, and try it. Called by "make containers".
#
#   lamella.sif (Apptainer) lies in the repository's folder; Docker and Podman keep lamella:latest.
#
# Exit codes: 0; 2 no container engine runs here; 1 a build or a trial failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '[containers] %s\n' "$*" >&2; }
TRIAL='lamella --help >/dev/null && python -c "import openslide, torch, horovod.torch as h; h.init()"'
found=0

if command -v apptainer >/dev/null; then
    found=1
    say "building lamella.sif with $(apptainer --version)"
    apptainer build --force lamella.sif containers/lamella.def
    apptainer exec --containall lamella.sif bash -c "$TRIAL"
    say "lamella.sif works"
fi
for engine in docker podman; do
    command -v $engine >/dev/null && $engine info >/dev/null 2>&1 || continue
    found=1
    say "building lamella:latest with $($engine --version)"
    $engine build -f containers/Dockerfile -t lamella .
    $engine run --rm --user "$(id -u)" lamella bash -c "$TRIAL"
    say "lamella:latest works with $engine"
done
[ $found = 1 ] || {
    say "error: no container engine runs here. Install Apptainer, Podman or Docker, or build elsewhere and copy lamella.sif"
    exit 2
}
