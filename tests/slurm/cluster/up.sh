#!/usr/bin/env bash
# Start a real Slurm of four virtual nodes, with 8 claimed CPUs and 2 fake GPUs each, on this machine.
#
#   up.sh DIRECTORY CONTROLLER_PORT NODE_PORT NODE_PORT NODE_PORT NODE_PORT
#
# As root, with slurmctld, slurmd and munge installed. Everything is in DIRECTORY, whose path must be
# short (the socket of munge is in it); nothing outside is read or changed. Clients are told by
# SLURM_CONF=DIRECTORY/slurm.conf. `down.sh DIRECTORY` stops it.
set -euo pipefail
export PATH="$PATH:/usr/sbin"
directory="$(cd -- "$1" && pwd)"
controller_port="$2"
node_ports=("${@:3}")
nodes="${#node_ports[@]}"
host="$(hostname -s)" # the controller runs only on the host it is configured for
export SLURM_CONF="$directory/slurm.conf"

configure() {
    local i name
    # A GPU is a character device whose name ends in its index: a link to /dev/null will do.
    ln -s /dev/null "$directory/gpu/nvidia0"
    ln -s /dev/null "$directory/gpu/nvidia1"
    {
        settings
        for i in "${!node_ports[@]}"; do
            name="node$((i + 1))"
            echo "NodeName=$name NodeHostname=$host NodeAddr=127.0.0.1 Port=${node_ports[i]}" \
                "CPUs=8 CoresPerSocket=8 RealMemory=4000 Gres=gpu:2"
        done
        echo "PartitionName=batch Nodes=ALL Default=YES MaxTime=1-0 DefaultTime=10 State=UP"
        echo "PartitionName=debug Nodes=node1 MaxTime=5 State=UP"
    } >"$SLURM_CONF"
    {
        echo "AutoDetect=off"
        echo "NodeName=node[1-$nodes] Name=gpu File=$directory/gpu/nvidia[0-1]"
    } >"$directory/gres.conf"
    # slurmd loads a cgroup plugin even where nothing uses one. Before 23.02 none can be switched off;
    # that for version 1 then does nothing, where the automatic choice would ask systemd.
    if [[ "$(slurmd -V)" =~ ^slurm(-wlm)?\ (1[0-9]|20|21|22)\. ]]; then
        echo "CgroupPlugin=cgroup/v1" >"$directory/cgroup.conf"
    else
        echo "CgroupPlugin=disabled" >"$directory/cgroup.conf"
    fi
}

settings() {
    cat <<END
ClusterName=hpcflow
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller_port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$directory/run/munge.socket
StateSaveLocation=$directory/state
SlurmdSpoolDir=$directory/spool/%n
SlurmctldPidFile=$directory/run/slurmctld.pid
SlurmdPidFile=$directory/run/slurmd.%n.pid
SlurmctldLogFile=$directory/log/slurmctld.log
SlurmdLogFile=$directory/log/slurmd.%n.log
# Neither cgroups nor pinning: a container may have no rights to them.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
PropagateResourceLimits=NONE
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
GresTypes=gpu
# Nodes may claim more than the machine has.
SlurmdParameters=config_overrides
# What can never run is refused at once, as sites have it.
EnforcePartLimits=ALL
# Schedule at once, kill soon, and remember jobs for as long as the tests take.
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
KillWait=2
CompleteWait=0
EpilogMsgTime=0
MinJobAge=3600
InactiveLimit=0
SlurmdTimeout=60
MessageTimeout=30
ReturnToService=2
JobRequeue=0
END
}

start() {
    munged --force --num-threads=2 --key-file="$directory/munge/key" \
        --socket="$directory/run/munge.socket" --pid-file="$directory/run/munged.pid" \
        --seed-file="$directory/munge/seed" --log-file="$directory/log/munged.log"
    slurmctld -c -f "$SLURM_CONF"
    local i
    for ((i = 1; i <= nodes; i++)); do
        slurmd -f "$SLURM_CONF" -N "node$i"
    done
}

wait_until_idle() {
    local deadline=$((SECONDS + 60))
    # A star after the state says that the node has not answered yet.
    until [[ "$(sinfo --noheader --Node --partition=batch --format=%t 2>&1 | grep -cx idle)" == "$nodes" ]]; do
        if ((SECONDS > deadline)); then
            echo "up.sh: error: the nodes are not idle after 60 s:" >&2
            tail -n 20 "$directory"/log/*.log >&2
            return 1
        fi
        sleep 0.1
    done
}

chmod 755 "$directory" # munge wants the way to its socket to be open
mkdir -p "$directory"/{gpu,log,run,state}
for ((i = 1; i <= nodes; i++)); do
    mkdir -p "$directory/spool/node$i"
done
(umask 077 && mkdir -p "$directory/munge" && head -c 1024 /dev/urandom >"$directory/munge/key")
configure
start
wait_until_idle
