#!/usr/bin/env bash
# Run Snakemake in this folder, also after an earlier run was killed at any moment.
#
#   scripts/run_workflow.sh SNAKEMAKE-ARGUMENTS...
#   scripts/run_workflow.sh --profile profiles/local --configfile config/longer.yaml
#
# A killed Snakemake leaves two things behind: its lock on the folder, and jobs that still run.
# Snakemake cannot tell a stale lock from a living one. So every process of a run carries the
# folder in its environment, and every SLURM job of it has the folder as its working folder; a new
# start waits until the last of them has ended, then takes the lock away. Nothing that has begun is
# killed here; SLURM jobs that only wait are cancelled, for the new run submits them again. A run on
# another machine is never unlocked.
set -euo pipefail

BIN=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin
FOLDER=$(pwd -P)
OWNER=.snakemake/lamella-run
ON_SLURM=.snakemake/lamella-slurm # the Snakefile makes it in runs that submit to SLURM
SLURM_POLL_S=${LAMELLA_SLURM_POLL_S:-15} # seconds between two questions to SLURM
say() { printf '[workflow] %s\n' "$*" >&2; }

# A process may end while it is looked at, and those of other users cannot be read: both are no hit.
running() { # JOBS: processes of this folder, those of these SLURM jobs left out
    { grep -lzxF "LAMELLA_RUN_FOLDER=$FOLDER" /proc/[0-9]*/environ 2>/dev/null || true; plain; } |
        { [ -n "$1" ] && { xargs -r grep -LzxE "SLURM_JOB_ID=(${1// /|})" 2>/dev/null || true; } || cat; } |
        cut -d/ -f3 | sort -un | paste -sd ' ' -
}
# Snakemake may also have been started without this script: it is known by its working folder.
plain() {
    local process
    for process in $(grep -lzE '(^|/)snakemake$' /proc/[0-9]*/cmdline 2>/dev/null); do
        process=${process%/cmdline}
        [ "$(readlink "$process/cwd" 2>/dev/null)" != "$FOLDER" ] || echo "$process/environ"
    done
}
is_locked() { [ -n "$(ls -A .snakemake/locks 2>/dev/null)" ]; }
owner() { cat "$OWNER" 2>/dev/null || true; }
refuse_lock_of_another_machine() { # SNAKEMAKE-ARGUMENTS...
    local host
    host=$(owner)
    ! is_locked || [ "$host" = "$(uname -n)" ] || {
        say "error: this folder is locked by a run on ${host:-an unknown machine}. If nothing runs there any more, take the lock away, in $FOLDER, with: $BIN/snakemake --unlock${*:+ ${*@Q}}"
        exit 1
    }
}
# A run that was killed while it had jobs has left its lock or, after --unlock, marks of its outputs.
may_have_left_jobs() {
    [ -e "$ON_SLURM" ] && { is_locked || [ -n "$(ls -A .snakemake/incomplete 2>/dev/null)" ]; }
}
slurm_jobs() { # [--cancel]: ask until SLURM answers, for it may be away for a while
    local said
    may_have_left_jobs || return 0
    until said=$("$BIN/python" -m lamella.slurm.left_behind "$@"); do
        say "not known whether SLURM still has jobs of an earlier run, asking again"
        sleep "$SLURM_POLL_S"
    done
    echo "$said"
}
cancel_waiting() {
    local cancelled
    # Elsewhere a run may be at work that has no lock.
    [ "$(owner)" = "$(uname -n)" ] || return 0
    cancelled=$(slurm_jobs --cancel)
    [ -z "$cancelled" ] || say "cancelled SLURM jobs of an earlier run that had not begun: $cancelled"
}
wait_for_jobs() { # waits for the processes first, since a living Snakemake knows its jobs
    local jobs told="" processes met="" waited=0
    while true; do
        [ $((waited % SLURM_POLL_S)) -ne 0 ] || jobs=$(slurm_jobs)
        if processes=$(running "$jobs") && [ -n "$processes" ]; then
            met=1
            [ $((waited % 15)) -ne 0 ] ||
                say "an earlier run still has processes here, waiting for them to end (stop them with: kill $processes)"
        elif [ -n "$met" ]; then # what they submitted last, SLURM was not asked for yet
            met="" jobs=$(slurm_jobs)
            continue
        elif [ -n "$jobs" ]; then
            if [ "$jobs" != "$told" ]; then
                cancel_waiting
                say "SLURM still has jobs of an earlier run, waiting for them to end (stop them with: scancel $jobs)"
                told=$jobs
            fi
        else
            return 0
        fi
        sleep 1
        waited=$((waited + 1))
    done
}

# A job of this folder that calls this script would otherwise wait for itself.
[ "${LAMELLA_RUN_FOLDER:-}" != "$FOLDER" ] || { say "error: called from inside a run of this folder"; exit 1; }

mkdir -p .snakemake
exec 9>.snakemake/lamella-start
flock -n 9 || { say "another run is at work in this folder, waiting for it to end"; flock 9; }

refuse_lock_of_another_machine "$@"
wait_for_jobs
if is_locked; then
    refuse_lock_of_another_machine "$@"
    say "taking away the lock of a run that was killed"
    # First, for behind "--" they would be goals.
    "$BIN/snakemake" --quiet --unlock "$@"
fi
uname -n >"$OWNER"

# File descriptor 9 goes to Snakemake itself, which so holds the start lock until it ends.
PATH=$BIN:$PATH LAMELLA_RUN_FOLDER=$FOLDER exec "$BIN/snakemake" "$@"
