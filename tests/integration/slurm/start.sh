#!/usr/bin/env bash
# Start a real SLURM on this machine for the tests: slurmctld, four slurmd, munge; no systemd.
#
#   start.sh [FOLDER]       FOLDER (default: lamella-slurm below $TMPDIR) holds state, logs, keys
#   . FOLDER/env.sh         then sbatch, srun, squeue and their kind talk to it
#   stop.sh [FOLDER]        stops it and takes its files away
#
# Nodes cpu1 cpu2 (partition cpu, the default) and gpu1 gpu2 (partition gpu, a false GPU each), all
# on loopback. What already runs is kept, what is missing is started. Must be root. With
# LAMELLA_APT=1 Debian's packages are installed where they are missing.
#
#   LAMELLA_SLURM_ACCOUNTING=1   with slurmdbd and a MariaDB of its own (on a socket), for sacct
#   LAMELLA_SLURM_PORT=16817     the first of seven ports
#   LAMELLA_SLURM_MEMORY_MB=6000 what a node says it has
#
# Outside FOLDER it writes two things, which SLURM forces: a link /etc/slurm/slurm.conf (Snakemake's
# job steps drop SLURM_CONF) and lines in /etc/hosts that give the nodes' names an address.
#
# Exit codes: 0; 2 not root, or packages are missing; 3 another SLURM is here; 1 anything else.
set -euo pipefail

FOLDER=$(realpath -m "${1:-${TMPDIR:-/tmp}/lamella-slurm}")
ACCOUNTING=${LAMELLA_SLURM_ACCOUNTING:-0}
PORT=${LAMELLA_SLURM_PORT:-16817}
WAIT_S=300
CPUS=4         # per node: declared, not counted
MEMORY_MB=${LAMELLA_SLURM_MEMORY_MB:-6000} # per node; declared, too
NODES=(cpu1 cpu2 gpu1 gpu2)

# The name by which a link is known as ours.
ETC=$FOLDER/etc-lamella-slurm
LOG=$FOLDER/log
RUN=$FOLDER/run
SYSTEM_PACKAGES=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)/scripts/system_packages.sh
LINK=/etc/slurm/slurm.conf
MARK='# lamella-slurm'
PATH=$PATH:/usr/sbin:/sbin

say() { echo "[slurm] $*" >&2; }

stop_with() { # CODE TEXT FILE...: say what is wrong and the last lines of files
    local code=$1 file
    say "ERROR: $2"
    shift 2
    for file in "$@"; do
        [ -f "$file" ] && { say "last lines of $file:"; tail -n 20 "$file" >&2; }
    done
    exit "$code"
}

runs() { # PIDFILE PROGRAM: whether the process of that file lives and is that program
    local pid
    [ -s "$1" ] || return 1
    pid=$(tr -dc 0-9 <"$1")
    [ -d "/proc/$pid" ] && grep -qa -- "$2" "/proc/$pid/cmdline"
}

within() { # SECONDS COMMAND...: try until it succeeds
    local end=$((SECONDS + $1))
    shift
    until "$@" >"$LOG/within.out" 2>&1; do
        [ $SECONDS -lt $end ] || { say "still failing: $*"; tail -n 3 "$LOG/within.out" >&2; return 1; }
        sleep 0.2
    done
}

address_of() { getent ahostsv4 "$1" | awk 'NR == 1 { print $1 }' || true; }

refuse_another() {
    local target
    [ -e "$LINK" ] || [ -L "$LINK" ] || return 0
    target=$(readlink "$LINK" || true)
    case $target in
    "$ETC/slurm.conf") return 0 ;;
    */etc-lamella-slurm/slurm.conf) ;;
    *) stop_with 3 "$LINK is here and not ours: this machine belongs to a SLURM" ;;
    esac
    local other=${target%/etc-lamella-slurm/slurm.conf}
    if runs "$other/run/slurmctld.pid" slurmctld; then
        stop_with 3 "a test cluster runs already, in $other; stop it with stop.sh $other"
    fi
    say "taking over from $other, which no longer runs"
}

install_packages() {
    local programs=(slurmctld slurmd sbatch munged)
    [ "$ACCOUNTING" = 1 ] && programs+=(slurmdbd mariadbd)
    "$SYSTEM_PACKAGES" python3 "${programs[@]}" >"$LOG/apt.log" 2>&1 ||
        stop_with 2 "packages are missing: $(tail -n 3 "$LOG/apt.log" | paste -sd ' ')"
}

# SLURM listens at the address of the machine's own name; and every node needs a name.
name_nodes() {
    local full host name first="" last="" copy
    full=$(uname -n) host=${full%%.*}
    for name in "$full" "$host"; do
        case $(address_of "$name") in 127.*) ;; *) first="127.0.0.1 $full $host $MARK" ;; esac
    done
    for name in "${NODES[@]}"; do
        case $(address_of "$name") in
        127.*) ;;
        "") last+=" $name" ;;
        *) stop_with 3 "the host name $name belongs to another machine" ;;
        esac
    done
    [ -n "$first$last" ] || return 0
    copy=$(mktemp)
    {
        [ -z "$first" ] || echo "$first" # the first match counts
        cat /etc/hosts
        [ -z "$last" ] || echo "127.0.0.1$last $MARK"
    } >"$copy"
    # In place: in containers it is a mount.
    cat "$copy" >/etc/hosts || stop_with 1 "/etc/hosts cannot be written"
    rm -f "$copy"
}

write_settings() {
    local host node port=$((PORT + 3)) gpus
    host=$(uname -n) host=${host%%.*}
    mkdir -p "$FOLDER/state" "$FOLDER/spool" "$FOLDER/tmp"
    {
        cat <<END
ClusterName=lamella
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=$PORT
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket=$RUN/munge.socket
CredType=cred/munge
StateSaveLocation=$FOLDER/state
SlurmdSpoolDir=$FOLDER/spool/%n
TmpFS=$FOLDER/tmp/%n
SlurmctldPidFile=$RUN/slurmctld.pid
SlurmdPidFile=$RUN/slurmd.%n.pid
SlurmctldLogFile=$LOG/slurmctld.log
SlurmdLogFile=$LOG/slurmd.%n.log
# No cgroups: a container may not have them.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill,UsePss
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,bf_continue
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=60
KillWait=5
CompleteWait=0
MinJobAge=300
# A machine on which all of this and a workflow have two cores may stand still for ten seconds.
MessageTimeout=60
BatchStartTimeout=60
# As on many sites: what shall be queued again has to say so.
JobRequeue=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MailProg=/bin/true
END
        if [ "$ACCOUNTING" = 1 ]; then
            cat <<END
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 2))
AccountingStoragePass=$RUN/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=limits
AccountingStoreFlags=job_comment,job_script
END
        else
            echo "AccountingStorageType=accounting_storage/none"
        fi
        for node in "${NODES[@]}"; do
            mkdir -p "$FOLDER/spool/$node" "$FOLDER/tmp/$node"
            case $node in gpu*) gpus=" Gres=gpu:false:1" ;; *) gpus="" ;; esac
            echo "NodeName=$node NodeAddr=127.0.0.1 Port=$port CPUs=$CPUS Boards=1 SocketsPerBoard=1" \
                "CoresPerSocket=$CPUS ThreadsPerCore=1 RealMemory=$MEMORY_MB State=UNKNOWN$gpus"
            port=$((port + 1))
        done
        echo "PartitionName=cpu Nodes=cpu1,cpu2 Default=YES MaxTime=60 DefaultTime=10 State=UP"
        echo "PartitionName=gpu Nodes=gpu1,gpu2 MaxTime=60 DefaultTime=10 State=UP"
    } >"$ETC/slurm.conf"
    # A GPU must be a character device.
    printf 'NodeName=%s Name=gpu Type=false File=/dev/null\n' gpu1 gpu2 >"$ETC/gres.conf"
    case $(slurmd -V) in
    *\ 2[0-2].*) ;;
    *) echo "CgroupPlugin=disabled" >"$ETC/cgroup.conf" ;; # newer ones look for them all the same
    esac
    mkdir -p "${LINK%/*}"
    ln -sfn "$ETC/slurm.conf" "$LINK"
    printf 'export SLURM_CONF=%s PATH=$PATH:/usr/sbin\n' "$ETC/slurm.conf" >"$FOLDER/env.sh"
    export SLURM_CONF=$ETC/slurm.conf
}

start_munge() {
    runs "$RUN/munged.pid" munged && return
    [ -s "$ETC/munge.key" ] || (umask 077 && head -c 1024 /dev/urandom >"$ETC/munge.key")
    rm -f "$RUN"/munge.socket*
    munged --key-file="$ETC/munge.key" --socket="$RUN/munge.socket" --pid-file="$RUN/munged.pid" \
        --log-file="$LOG/munged.log" --seed-file="$RUN/munged.seed" </dev/null >"$LOG/munged.out" 2>&1 9>&- ||
        stop_with 1 "munged did not start" "$LOG/munged.out" "$LOG/munged.log"
    within 10 munge -S "$RUN/munge.socket" -n || stop_with 1 "munge does not answer" "$LOG/munged.log"
}

start_accounting() {
    local data=$FOLDER/mariadb
    local socket=$data/mysqld.sock
    sql() { mariadb --no-defaults --socket="$socket" -uroot -N "$@"; }
    if ! runs "$RUN/mariadbd.pid" mariadbd; then
        mkdir -p "$data"
        chown mysql: "$data"
        [ -d "$data/files" ] || mariadb-install-db --no-defaults --user=mysql --datadir="$data/files" \
            --auth-root-authentication-method=socket --skip-test-db >"$LOG/mariadb-install.log" 2>&1 9>&- ||
            stop_with 1 "MariaDB's folder could not be made" "$LOG/mariadb-install.log"
        setsid mariadbd --no-defaults --user=mysql --datadir="$data/files" --socket="$socket" \
            --pid-file="$data/pid" --skip-networking --skip-log-bin --innodb-buffer-pool-size=64M \
            --innodb-lock-wait-timeout=900 --performance-schema=OFF </dev/null >"$LOG/mariadbd.log" 2>&1 9>&- &
        echo $! >"$RUN/mariadbd.pid"
        within 60 sql -e 'select 1' || stop_with 1 "MariaDB does not answer" "$LOG/mariadbd.log"
    fi
    sql -e "create database if not exists slurm_acct_db;
            create user if not exists slurm@localhost identified by 'slurm';
            grant all on slurm_acct_db.* to slurm@localhost;"
    (
        umask 077
        cat >"$ETC/slurmdbd.conf" <<END
DbdHost=$(uname -n | cut -d. -f1)
DbdAddr=127.0.0.1
DbdPort=$((PORT + 2))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$RUN/munge.socket
CommunicationParameters=NoInAddrAny
LogFile=$LOG/slurmdbd.log
PidFile=$RUN/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
END
    )
    runs "$RUN/slurmdbd.pid" slurmdbd ||
        MYSQL_UNIX_PORT=$socket slurmdbd </dev/null >"$LOG/slurmdbd.out" 2>&1 9>&- ||
        stop_with 1 "slurmdbd did not start" "$LOG/slurmdbd.out" "$LOG/slurmdbd.log"
    within 60 sacctmgr -n list cluster || stop_with 1 "slurmdbd does not answer" "$LOG/slurmdbd.log"
    if [ -z "$(sacctmgr -n list cluster lamella format=cluster)" ]; then
        sacctmgr -i add cluster lamella >/dev/null
        sacctmgr -i add account lab Description=lab Organization=lab >/dev/null
        sacctmgr -i add user root account=lab >/dev/null
    fi
}

start_slurm() {
    local node
    if ! runs "$RUN/slurmctld.pid" slurmctld; then
        slurmctld </dev/null >"$LOG/slurmctld.out" 2>&1 9>&- ||
            stop_with 1 "slurmctld did not start" "$LOG/slurmctld.out" "$LOG/slurmctld.log"
        within 30 scontrol ping || stop_with 1 "slurmctld does not answer" "$LOG/slurmctld.log"
    fi
    for node in "${NODES[@]}"; do
        runs "$RUN/slurmd.$node.pid" slurmd ||
            slurmd -N "$node" </dev/null >"$LOG/slurmd.$node.out" 2>&1 9>&- ||
            stop_with 1 "slurmd of $node did not start" "$LOG/slurmd.$node.out" "$LOG/slurmd.$node.log"
    done
    usable() { [ "$(sinfo -h -N -o '%N %T' | sort -u | grep -cE ' (idle|mixed|allocated)$')" -ge ${#NODES[@]} ]; }
    if ! within $WAIT_S usable; then
        sinfo -N -l >&2 || true
        stop_with 1 "not all nodes are usable" "$LOG/slurmctld.log" "$LOG/slurmd.cpu1.log"
    fi
}

[ "$(id -u)" = 0 ] || stop_with 2 "must be root"
case $FOLDER in *[[:space:]]*) stop_with 2 "FOLDER holds a space: $FOLDER" ;; esac
refuse_another
mkdir -p "$ETC" "$LOG" "$RUN"
chmod a+x "$FOLDER" # munge wants its socket within everybody's reach
exec 9>"$FOLDER/lock"
flock -w 120 9 || stop_with 1 "another start.sh works in $FOLDER"
install_packages
name_nodes
write_settings
start_munge
[ "$ACCOUNTING" != 1 ] || start_accounting
start_slurm
say "ready: ${NODES[*]}; . $FOLDER/env.sh"
