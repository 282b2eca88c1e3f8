#!/usr/bin/env bash
# Install Lamella into an image of Debian 12; both recipes run it, as root, in the repository's copy.
# Everything but Python itself is done by the project's own set-up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# procps: Snakemake measures its jobs with it. git: a run is tagged with its commit.
apt-get -qq install -y --no-install-recommends ca-certificates git make procps python3.11

export HOME=/root LAMELLA_APT=1 LAMELLA_CACHE=$PWD/.cache LAMELLA_PYTHON=python3.11
rm -rf .venv
make setup

# Whoever runs the image is another user, and writes nothing here.
rm -rf .cache /root/.cache /var/lib/apt/lists/*
chmod -R a+rX .
