#!/usr/bin/env bash
# Run Snakemake in this folder, also after an earlier run was killed at any moment.
#
#   scripts/run_workflow.sh SNAKEMAKE-ARGUMENTS...
#   scripts/run_workflow.sh --profile profiles/local --configfile config/longer.yaml
#
# A killed Snakemake leaves two things behind: its lock on the folder, and jobs that still run.
# Snakemake cannot tell a stale lock from a living one. So every process of a run carries the
# folder in its environment; a new start waits until the last of them has ended, then takes the
# lock away. Nothing is killed here, and a run on another machine is never unlocked.
set -euo pipefail

BIN=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin
FOLDER=$(pwd -P)
OWNER=.snakemake/lamella-run
say() { printf '[workflow] %s\n' "$*" >&2; }

# A process may end while it is looked at, and those of other users cannot be read: both are no hit.
running() {
    { grep -lzxF "LAMELLA_RUN_FOLDER=$FOLDER" /proc/[0-9]*/environ 2>/dev/null || true; plain; } |
        cut -d/ -f3 | sort -un | paste -sd ' ' -
}
# Snakemake may also have been started without this script: it is known by its working folder.
plain() {
    local process
    for process in $(grep -lzE '(^|/)snakemake$' /proc/[0-9]*/cmdline 2>/dev/null); do
        process=${process%/cmdline}
        [ "$(readlink "$process/cwd" 2>/dev/null)" != "$FOLDER" ] || echo "$process"
    done
}
# A job of this folder that calls this script would otherwise wait for itself.
[ "${LAMELLA_RUN_FOLDER:-}" != "$FOLDER" ] || { say "error: called from inside a run of this folder"; exit 1; }

mkdir -p .snakemake
exec 9>.snakemake/lamella-start
flock -n 9 || { say "another run is at work in this folder, waiting for it to end"; flock 9; }

waited=0
while processes=$(running) && [ -n "$processes" ]; do
    [ $((waited % 15)) -ne 0 ] ||
        say "an earlier run still has processes here, waiting for them to end (stop them with: kill $processes)"
    sleep 1
    waited=$((waited + 1))
done

if [ -n "$(ls -A .snakemake/locks 2>/dev/null)" ]; then
    host=$(cat "$OWNER" 2>/dev/null || true)
    if [ "$host" != "$(uname -n)" ]; then
        say "error: this folder is locked by a run on ${host:-an unknown machine}. If nothing runs there any more, take the lock away with: $BIN/snakemake --unlock"
        exit 1
    fi
    say "taking away the lock of a run that was killed"
    "$BIN/snakemake" "$@" --unlock --quiet
fi
uname -n >"$OWNER"

# File descriptor 9 goes to Snakemake itself, which so holds the start lock until it ends.
PATH=$BIN:$PATH LAMELLA_RUN_FOLDER=$FOLDER exec "$BIN/snakemake" "$@"
