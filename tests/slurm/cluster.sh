#!/usr/bin/env bash
# A throw-away, real Slurm cluster on one host, without systemd, docker or cgroups, as root or as a plain
# user: three nodes, two of them with 2 pretended GPUs each, and accounting. Everything that it writes is
# under $SAEFLOW_CLUSTER. Its ports are fixed, so there is one at a time on a host.
#
#   cluster.sh install            Debian's packages
#   cluster.sh start              munged, mariadbd, slurmdbd, slurmctld and three slurmd
#   cluster.sh stop               ends exactly what `start` began
#   cluster.sh kill-node n2       SIGKILL to one slurmd and its jobs; Slurm notices in about 25 s
#   cluster.sh down-node n2       the same, and Slurm is told
#   cluster.sh start-node n2      brings it back
#   eval "$(cluster.sh env)"      SLURM_CONF and PATH for sbatch, squeue and snakemake
#
# No limit of memory or CPUs is enforced, so what runs out of memory has to be acted. The GPUs are names:
# CUDA_VISIBLE_DEVICES is set, nothing can compute on them.
set -euo pipefail
ROOT=${SAEFLOW_CLUSTER:?folder of the cluster}
NODES="n1 n2 n3"                      # n1 = CPU node, n2 + n3 = GPU nodes
ME=$(id -un)
HOST=$(hostname -s)
export PATH=$PATH:/usr/sbin SLURM_CONF=$ROOT/etc/slurm.conf

die() { echo "cluster.sh: $*" >&2; exit 1; }
wait_for() { # wait_for <seconds> <what> <cmd...>
    local end=$(( SECONDS + $1 )) what=$2; shift 2
    while [ $SECONDS -le $end ]; do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done
    die "timed out waiting for $what (logs: $ROOT/log)"
}

write_config() {
    mkdir -p "$ROOT"/{bin,etc,log,run,state,db,dev,nocgroup}; for n in $NODES; do mkdir -p "$ROOT/spool/$n"; done
    chmod 755 "$ROOT" "$ROOT"/run
    # snakemake-executor-plugin-slurm-jobstep (0.6.1) deletes every SLURM_* variable, SLURM_CONF
    # included, before its inner `srun`; without /etc/slurm/slurm.conf that srun then dies with
    # "Could not establish a configuration source". This wrapper puts SLURM_CONF back.
    printf '#!/bin/sh\nexport SLURM_CONF="%s"\nexec %s "$@"\n' "$SLURM_CONF" \
        "$(PATH=/usr/local/bin:/usr/bin:/bin command -v srun)" > "$ROOT/bin/srun"
    chmod 755 "$ROOT/bin/srun"
    # Fake GPUs: gres.conf File= must name character devices (a regular file is refused), and
    # only with File= does Slurm export CUDA_VISIBLE_DEVICES. Root: mknod copies of /dev/null;
    # otherwise the consoles /dev/tty0-1 serve.
    GPUDEV="$ROOT/dev/nvidia"
    for i in 0 1; do
        [ -c "$GPUDEV$i" ] || mknod "$GPUDEV$i" c 1 3 2>/dev/null || { GPUDEV=/dev/tty; break; }
    done
    ( umask 077; [ -s "$ROOT/etc/munge.key" ] || head -c 128 /dev/urandom > "$ROOT/etc/munge.key" )
    cat > "$ROOT/etc/slurm.conf" <<CONF
ClusterName=ci
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=$ME
SlurmdUser=$ME
SlurmctldPort=17817
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$ROOT/run/munge.sock
StateSaveLocation=$ROOT/state
SlurmdSpoolDir=$ROOT/spool/%n
SlurmctldPidFile=$ROOT/run/slurmctld.pid
SlurmdPidFile=$ROOT/run/slurmd-%n.pid
SlurmctldLogFile=$ROOT/log/slurmctld.log
SlurmdLogFile=$ROOT/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=5,sched_min_interval=0,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
KillWait=2
InactiveLimit=0
MinJobAge=600
JobRequeue=1
MaxArraySize=1001
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=17819
AccountingStoragePass=$ROOT/run/munge.sock
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
NodeName=n1 NodeHostname=$HOST NodeAddr=127.0.0.1 Port=17001 CPUs=4 RealMemory=8000
NodeName=n2 NodeHostname=$HOST NodeAddr=127.0.0.1 Port=17002 CPUs=4 RealMemory=8000 Gres=gpu:h200:2 Feature=h200
NodeName=n3 NodeHostname=$HOST NodeAddr=127.0.0.1 Port=17003 CPUs=4 RealMemory=8000 Gres=gpu:a100:2 Feature=a100
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=cpu Nodes=n1,n2,n3 Default=YES MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=gpu Nodes=n2,n3 MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=low Nodes=n3 MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
CONF
    cat > "$ROOT/etc/gres.conf" <<CONF
AutoDetect=off
NodeName=n2 Name=gpu Type=h200 File=$GPUDEV[0-1]
NodeName=n3 Name=gpu Type=a100 File=$GPUDEV[0-1]
CONF
    # Keep slurmd off the host's cgroups (it loads a cgroup plugin even with proctrack/linuxproc and
    # dies on a cgroup-v2 host without systemd/dbus): "disabled" is documented from 24.05 on; before that,
    # the v1 plugin pointed at an empty directory does the same.
    if [ "$(printf '24.05\n%s\n' "$(slurmd -V | grep -oE '[0-9]+\.[0-9]+' | head -1)" | sort -V | head -1)" = 24.05 ]
    then echo "CgroupPlugin=disabled"
    else printf 'CgroupPlugin=cgroup/v1\nCgroupMountpoint=%s\n' "$ROOT/nocgroup"; fi > "$ROOT/etc/cgroup.conf"
    ( umask 077; cat > "$ROOT/etc/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$ROOT/run/munge.sock
DbdHost=localhost
DbdPort=17819
SlurmUser=$ME
PidFile=$ROOT/run/slurmdbd.pid
LogFile=$ROOT/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=17306
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
CONF
    )
}

start_db() {
    if [ ! -d "$ROOT/db/mysql" ]; then
        mariadb-install-db --no-defaults --datadir="$ROOT/db" --user="$ME" --skip-test-db \
            --auth-root-authentication-method=normal >"$ROOT/log/mariadb-install.log" 2>&1
    fi
    mariadbd --no-defaults --datadir="$ROOT/db" --user="$ME" --socket="$ROOT/run/mysql.sock" \
        --bind-address=127.0.0.1 --port=17306 --pid-file="$ROOT/run/mariadbd.pid" \
        --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=0 \
        --innodb-lock-wait-timeout=900 >"$ROOT/log/mariadbd.log" 2>&1 </dev/null &
    disown
    wait_for 30 mariadbd mariadb --no-defaults -uroot -S "$ROOT/run/mysql.sock" -e 'select 1'
    mariadb --no-defaults -uroot -S "$ROOT/run/mysql.sock" -e \
        "create user if not exists slurm@localhost identified by 'slurm';
         create user if not exists slurm@'127.0.0.1' identified by 'slurm';
         grant all on slurm_acct.* to slurm@localhost; grant all on slurm_acct.* to slurm@'127.0.0.1';"
    slurmdbd </dev/null
    wait_for 30 slurmdbd sacctmgr -n show cluster
}

alive() { # a zombie (PID 1 of a container may never reap) counts as gone
    local st; st=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f1) || return 1
    [ -n "$st" ] && [ "$st" != Z ]
}
start_node() { slurmd -N "$1" </dev/null; }

start() {
    [ ! -s "$ROOT/run/slurmctld.pid" ] || ! alive "$(<"$ROOT/run/slurmctld.pid")" || die "already running in $ROOT"
    trap 'rc=$?; [ $rc -eq 0 ] || stop; exit $rc' EXIT      # a failed start leaves nothing behind
    write_config
    munged --force --key-file="$ROOT/etc/munge.key" --socket="$ROOT/run/munge.sock" \
        --pid-file="$ROOT/run/munged.pid" --log-file="$ROOT/log/munged.log" \
        --seed-file="$ROOT/run/munged.seed" </dev/null 2>>"$ROOT/log/munged.err"
    start_db
    slurmctld </dev/null
    wait_for 30 slurmctld bash -c 'scontrol ping | grep -q UP'
    for n in $NODES; do start_node "$n"; done
    wait_for 30 nodes bash -c "[ \$(sinfo -hN -p cpu -t idle -o %N | wc -l) -eq $(wc -w <<<"$NODES") ]"
    sacctmgr -iQ add account ci >/dev/null 2>&1 || true
    sacctmgr -iQ add user "$ME" account=ci >/dev/null 2>&1 || true
    sinfo -N -o '%N %P %T %c %m %G'
}

end_pid() { # end_pid <pidfile> : TERM, then KILL after 10 s
    local pid; [ -s "$1" ] || return 0; pid=$(<"$1")
    grep -qaE 'slurm|mariadbd|munged' "/proc/$pid/cmdline" 2>/dev/null || { rm -f "$1"; return 0; }   # stale pid file
    kill "$pid" 2>/dev/null || { rm -f "$1"; return 0; }
    for _ in $(seq 100); do alive "$pid" || { rm -f "$1"; return 0; }; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true; rm -f "$1"
}

tree() { local c; for c in $(pgrep -P "$1" || true); do tree "$c"; done; echo "$1"; }
left_behind() { # slurmstepds of this cluster, which outlive their slurmd, and job scripts that outlived those
    local p
    for p in $(pgrep -x slurmstepd || true); do
        tr '\0' '\n' 2>/dev/null < "/proc/$p/environ" | grep -qxF "SLURM_CONF=$SLURM_CONF" && echo "$p"
    done
    pgrep -f "$ROOT/spool/.*/slurm_script" || true
}

stop() {
    if scontrol ping 2>/dev/null | grep -q UP; then
        scancel --state=PENDING,RUNNING,SUSPENDED --user="$ME" 2>/dev/null || true
        for _ in $(seq 150); do        # 15 s; KillWait is 2
            [ -n "$(squeue -h -t PENDING,RUNNING,SUSPENDED,COMPLETING -o %A 2>/dev/null)" ] || break
            sleep 0.1
        done
    fi
    for n in $NODES; do end_pid "$ROOT/run/slurmd-$n.pid"; done
    local pids; pids=$(for p in $(left_behind); do tree "$p"; done)
    [ -z "$pids" ] || kill -9 $pids 2>/dev/null || true
    for d in slurmctld slurmdbd mariadbd munged; do end_pid "$ROOT/run/$d.pid"; done
}

kill_node() { # what a power cut does: slurmd, its slurmstepds and everything below them
    local j s pids=$(<"$ROOT/run/slurmd-$1.pid")
    for j in $(squeue -hw "$1" -t RUNNING,COMPLETING -o %A); do
        for s in $(pgrep -f "^slurmstepd: \[$j\." || true); do pids="$(tree "$s") $pids"; done
    done
    kill -9 $pids 2>/dev/null || true; rm -f "$ROOT/run/slurmd-$1.pid"
}

case "${1:-}" in
    install)    export DEBIAN_FRONTEND=noninteractive
                apt-get update -q
                apt-get install -qy --no-install-recommends slurmctld slurmd slurm-client munge \
                    slurmdbd mariadb-server ;;
    start)      start ;;
    stop)       stop ;;
    kill-node)  kill_node "$2" ;;
    down-node)  kill_node "$2"; scontrol update nodename="$2" state=down reason=ci ;;
    start-node) start_node "$2"; sleep 1; scontrol update nodename="$2" state=resume 2>/dev/null || true ;;
    env)        echo "export SLURM_CONF=$SLURM_CONF PATH=$ROOT/bin:\$PATH" ;;
    *)          sed -n '2,13p' "$0"; exit 2 ;;
esac
