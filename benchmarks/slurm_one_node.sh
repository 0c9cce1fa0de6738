#!/bin/bash
# A Slurm controller and node of Debian's packages (slurm-wlm) on this machine, loopback alone:
#
#     sudo benchmarks/slurm_one_node.sh FOLDER COMMAND...
#
# COMMAND runs with SLURM_CONF set, e.g. `score-jax run DATA OUT participant --cluster slurm`; then all ends.
set -eu
folder=$(realpath -m "$1")
shift
mkdir -p "$folder/state" "$folder/spool" /run/munge
chown munge: /run/munge
host=$(hostname -s)
cat > "$folder/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2
MailProg=/bin/true
ReturnToService=2
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$folder/slurm.conf"
runuser -u munge -- munged --foreground --force > "$folder/munged.log" 2>&1 &
munge=$!
sleep 1
slurmctld -D > "$folder/slurmctld.out" 2>&1 &
controller=$!
slurmd -D -N "$host" > "$folder/slurmd.out" 2>&1 &
node=$!
trap 'kill $node $controller $munge 2> /dev/null; wait' EXIT
for _ in $(seq 30); do
  sinfo -h -o %t 2> /dev/null | grep -q -E "idle|mix" && break
  sleep 1
done
sinfo
"$@"
