#!/usr/bin/env bash
# Stop the SLURM that start.sh started, end its jobs, and take its files away.
#
#   stop.sh [--keep-logs] [FOLDER]
#
# Ends processes by the numbers in FOLDER/run, and job steps that carry this cluster's SLURM_CONF.
set -uo pipefail

KEEP=0
[ "${1:-}" = --keep-logs ] && { KEEP=1 && shift; }
FOLDER=$(realpath -m "${1:-${TMPDIR:-/tmp}/lamella-slurm}")
ETC=$FOLDER/etc-lamella-slurm
RUN=$FOLDER/run
LINK=/etc/slurm/slurm.conf
export SLURM_CONF=$ETC/slurm.conf PATH=$PATH:/usr/sbin:/sbin

say() { echo "[slurm] $*" >&2; }

pid_of() { # PIDFILE PROGRAM
    local pid
    [ -s "$1" ] || return 1
    pid=$(tr -dc 0-9 <"$1")
    [ -d "/proc/$pid" ] && grep -qa -- "$2" "/proc/$pid/cmdline" && echo "$pid"
}

gone() { [ ! -d "/proc/$1" ] || grep -qs '^State:.*Z' "/proc/$1/status"; }

end() { # PIDFILE PROGRAM SECONDS
    local pid i
    pid=$(pid_of "$1" "$2") || return 0
    kill "$pid"
    for ((i = 0; i < $3 * 10; i++)); do
        gone "$pid" && return 0
        sleep 0.1
    done
    say "$2 ($pid) did not stop in $3 s: killed"
    kill -9 "$pid"
}

end_jobs() {
    local jobs i
    jobs=$(timeout 20 squeue -h -o %A | sort -u)
    [ -n "$jobs" ] || return 0
    say "ending jobs:" $jobs
    timeout 20 scancel $jobs
    for ((i = 0; i < 75; i++)); do
        [ -z "$(timeout 20 squeue -h -o %A)" ] && return 0
        sleep 0.2
    done
}

# slurmstepd outlives slurmd.
end_steps() {
    local folder
    for folder in /proc/[0-9]*; do
        [ "$(cat "$folder/comm" 2>/dev/null)" = slurmstepd ] &&
            tr '\0' '\n' 2>/dev/null <"$folder/environ" | grep -qx "SLURM_CONF=$SLURM_CONF" &&
            kill -9 "${folder#/proc/}"
    done
}

if [ ! -d "$ETC" ]; then
    say "nothing to stop in $FOLDER"
    exit 0
fi
pid_of "$RUN/slurmctld.pid" slurmctld >/dev/null && end_jobs
for file in "$RUN"/slurmd.*.pid; do end "$file" slurmd 10; done
end "$RUN/slurmctld.pid" slurmctld 20
end "$RUN/slurmdbd.pid" slurmdbd 20
end "$RUN/mariadbd.pid" mariadbd 30
end_steps
end "$RUN/munged.pid" munged 10

[ "$(readlink $LINK)" = "$ETC/slurm.conf" ] && rm -f $LINK && rmdir --ignore-fail-on-non-empty "${LINK%/*}"
if grep -q '# lamella-slurm$' /etc/hosts; then
    copy=$(mktemp)
    grep -v '# lamella-slurm$' /etc/hosts >"$copy"
    cat "$copy" >/etc/hosts
    rm -f "$copy"
fi
if [ $KEEP = 1 ]; then
    find "$FOLDER" -mindepth 1 -maxdepth 1 ! -name log -exec rm -rf {} +
    say "stopped; logs in $FOLDER/log"
else
    rm -rf "$FOLDER"
    say "stopped"
fi
