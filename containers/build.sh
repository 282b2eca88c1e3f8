#!/usr/bin/env bash
# Build the image with every container engine that runs here, and try it. Called by "make containers".
#
#   lamella.sif (Apptainer) lies in the repository's folder; Docker, Podman and Buildah keep lamella:latest.
#
# Needed: one of them; 20 GB of free disk where Apptainer works, 30 GB for the others; 8 GB of memory; the internet, for Debian's
# packages, debian:12-slim and PyPI.
#
# Exit codes: 0; 2 no container engine runs here; 1 a build or a trial failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '[containers] %s\n' "$*" >&2; }
# By the loopback, as trainings on one node do it: a container may not know its own name.
TRIAL='lamella --help >/dev/null && HOROVOD_GLOO_IFACE=lo python -c "import openslide, torch, horovod.torch as h; h.init()"'
APPTAINER_GIB=20
OTHERS_GIB=30 # they hold the largest layer three times while they store it
found=0

folder_of() { # ENGINE: where it keeps its images
    case $1 in
        docker) docker info --format '{{.DockerRootDir}}' ;;
        podman) podman info --format '{{.Store.GraphRoot}}' ;;
        buildah) buildah info --format '{{index .store "GraphRoot"}}' ;;
    esac
}
warn_of_disk() { # FOLDER GIB: on another machine, as Docker's may be, it is not looked at
    local free
    free=$(df --output=avail -B1G "$1" 2>/dev/null | tail -n 1) || return 0
    [ "$free" -ge "$2" ] ||
        say "warning: $1 has $free GiB free, and a build takes up to $2"
}
try() { # ENGINE: run the trial as a user without a name
    local container
    if [ "$1" != buildah ]; then
        "$1" run --rm --user "$(id -u)" lamella bash -c "$TRIAL"
        return
    fi
    container=$(buildah from --pull-never lamella)
    buildah run --user "$(id -u)" "$container" -- bash -c "$TRIAL"
    buildah rm "$container" >/dev/null
}

if command -v apptainer >/dev/null; then
    found=1
    say "building lamella.sif with $(apptainer --version)"
    warn_of_disk "${APPTAINER_TMPDIR:-${TMPDIR:-/tmp}}" $APPTAINER_GIB
    apptainer build --force lamella.sif containers/lamella.def
    apptainer exec --containall lamella.sif bash -c "$TRIAL"
    say "lamella.sif works"
fi
for engine in docker podman buildah; do
    command -v $engine >/dev/null && $engine info >/dev/null 2>&1 || continue
    # Both keep their images in one place.
    [ $engine != buildah ] || ! command -v podman >/dev/null || continue
    found=1
    say "building lamella:latest with $($engine --version)"
    warn_of_disk "$(folder_of $engine)" $OTHERS_GIB
    if [ $engine = buildah ]; then
        buildah bud -f containers/Dockerfile -t lamella .
    else
        $engine build -f containers/Dockerfile -t lamella .
    fi
    try $engine
    say "lamella:latest works with $engine"
done
[ $found = 1 ] || {
    say "error: no container engine runs here. Install Apptainer, Podman, Buildah or Docker (Debian 12: apt-get install buildah), or build elsewhere and copy lamella.sif"
    exit 2
}
