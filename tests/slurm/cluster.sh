# A real Slurm cluster on this machine, to be sourced: Debian's slurmctld, slurmd and munge, with all their files in a
# folder of their own. Needs root.
#
#   slurm_check     returns 1 and says why where this machine does not let us
#   slurm_up        brings it up and sets SLURM_CONF, so that sbatch, srun and scancel speak to it; takes it down on EXIT. Returns 1
#                   where a daemon refuses to start, 2 where they run and the nodes are not up after 60 s; and says why
#   slurm_down      takes it down; jobs end
#
# slurm_low_options and slurm_more are further words of the partition low, and a further line of slurm.conf. slurm_hosts=N
# makes N nodes, each a test host (tests/hosts) with a network, a name and a slurmd of its own; Slurm's commands are then
# shell functions that run on the first. Without it there is one node, this machine.
#
# Partitions: low (the default; its jobs are requeued when high needs the nodes) and high; on test hosts also students
# (the first) and teachers (the others). A node has 4 CPUs, a test host
# 8, whatever the machine has. Nothing under /etc/slurm or /var is
# touched, and ports are free ones of 127.0.0.1, or the test hosts'.

source "$(dirname "${BASH_SOURCE[0]}")/../hosts/hosts.sh"
slurm_dir=

slurm_check() {
  local tool
  for tool in slurmctld slurmd sbatch srun scancel squeue scontrol munged; do
    command -v "$tool" >/dev/null ||
      { echo "no Slurm: $tool is not installed (Debian: slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge)"; return 1; }
  done
  [ "$(id -u)" -eq 0 ] || { echo "no Slurm: slurmd needs root"; return 1; }
}

slurm_free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

slurm_stop() {  # PID FILE
  local pid
  pid="$(cat "$1" 2>/dev/null)" || return 0
  [ -n "$pid" ] || return 0
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null || true
}

slurm_down() {
  [ -n "$slurm_dir" ] || return 0
  scancel --signal=KILL --full --partition=low,high 2>/dev/null || true
  scancel --partition=low,high 2>/dev/null || true
  for _ in $(seq 50); do [ -z "$(squeue -h 2>/dev/null)" ] && break; sleep 0.2; done
  slurm_stop "$slurm_dir/slurmctld.pid"
  local pid
  for pid in "$slurm_dir"/slurmd-*.pid; do slurm_stop "$pid"; done
  slurm_stop "$slurm_dir/munged.pid"
  if [ "${slurm_hosts:-0}" -gt 0 ]; then hosts_down; fi
  if [ "${TEMPER_SLURM_KEEP:-no}" = no ]; then rm -rf "$slurm_dir"; fi
  slurm_dir=
}

# A command on a node, the first one being 1.
slurm_on() {  # NUMBER COMMAND ARGUMENTS...
  if [ "${slurm_hosts:-0}" -gt 0 ]; then hosts_on "$@"; else "${@:2}"; fi
}
for slurm_tool in sbatch srun scancel squeue scontrol sinfo; do
  eval "$slurm_tool() { if [ \"\${slurm_hosts:-0}\" -gt 0 ]; then hosts_on 1 $slurm_tool \"\$@\"; else command $slurm_tool \"\$@\"; fi; }"
done

# slurmd on a test host, with mounts of its own (those that ip gives it lack the control groups): each node has its own
# TmpFS.
slurm_start_on_host() {  # NUMBER ARGUMENTS...
  local name
  name="$(hosts_name "$1")"
  mkdir -p "$slurm_dir/tmp-$1"
  nsenter --net="/run/netns/$name" unshare --uts --mount --propagation slave \
    sh -c 'hostname "$1" && mount --bind "$2" "$3" && shift 3 && exec slurmd "$@"' sh "$name" "$slurm_dir/tmp-$1" "$slurm_dir/tmp" "${@:2}"
}

slurm_up() {
  local count=1 end hosts controller i nodes start
  hosts=("$(hostname -s)")
  controller="${hosts[0]}(127.0.0.1)"
  nodes="NodeName=${hosts[0]} NodeAddr=127.0.0.1 CPUs=4 RealMemory=2000"
  if [ "${slurm_hosts:-0}" -gt 0 ]; then
    count="$slurm_hosts" hosts=() nodes=""
    hosts_up "$count"
    for ((i = 1; i <= count; ++i)); do
      hosts+=("$(hosts_name "$i")")
      nodes+="NodeName=${hosts[-1]} NodeAddr=$hosts_subnet.$i CPUs=8 RealMemory=2000"$'\n'
    done
    controller="${hosts[0]}($hosts_subnet.1)"
    nodes+="PartitionName=students Nodes=${hosts[0]} MaxTime=INFINITE"$'\n'
    nodes+="PartitionName=teachers Nodes=$(IFS=,; echo "${hosts[*]:1}") MaxTime=INFINITE"
  fi
  slurm_dir="$(mktemp -d /tmp/temper-slurm-XXXXXX)"
  chmod 755 "$slurm_dir"
  trap slurm_down EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  mkdir "$slurm_dir/munge" "$slurm_dir/state" "$slurm_dir/spool" "$slurm_dir/tmp"
  dd if=/dev/urandom of="$slurm_dir/munge/key" bs=1 count=1024 status=none
  chmod 400 "$slurm_dir/munge/key"
  munged --force --key-file "$slurm_dir/munge/key" --socket "$slurm_dir/munge/socket" --num-threads 2 \
    --pid-file "$slurm_dir/munged.pid" --log-file "$slurm_dir/munge/log" --seed-file "$slurm_dir/munge/seed" \
    2>"$slurm_dir/munge/errors" || { cat "$slurm_dir/munge/errors"; return 1; }
  : >"$slurm_dir/plugstack.conf"
  cat >"$slurm_dir/slurm.conf" <<CONF
ClusterName=temper
SlurmctldHost=$controller
SlurmctldPort=$(slurm_free_port)
SlurmdPort=$(slurm_free_port)
SlurmUser=root
AuthType=auth/munge
# A requeued job waits for as long as credentials last before it starts again.
AuthInfo=socket=$slurm_dir/munge/socket,cred_expire=5
StateSaveLocation=$slurm_dir/state
SlurmdSpoolDir=$slurm_dir/spool/%n
# PMIx makes a folder there for each step; one that a killed cluster left behind would keep this one's from starting.
TmpFS=$slurm_dir/tmp
SlurmctldPidFile=$slurm_dir/slurmctld.pid
SlurmdPidFile=$slurm_dir/slurmd-%n.pid
SlurmctldLogFile=$slurm_dir/slurmctld.log
SlurmdLogFile=$slurm_dir/slurmd-%n.log
PlugStackConfig=$slurm_dir/plugstack.conf
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=pmix
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=bf_interval=2,sched_interval=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
${slurm_more:-}
$nodes
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE OverSubscribe=NO MaxTime=INFINITE ${slurm_low_options:-}
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF OverSubscribe=NO MaxTime=INFINITE
CONF
  export SLURM_CONF="$slurm_dir/slurm.conf"
  slurm_on 1 slurmctld -f "$SLURM_CONF" 2>"$slurm_dir/errors" || { cat "$slurm_dir/errors"; return 1; }
  for ((i = 1; i <= count; ++i)); do
    mkdir -p "$slurm_dir/spool/${hosts[i - 1]}"
    start=(slurmd)
    if [ "${slurm_hosts:-0}" -gt 0 ]; then start=(slurm_start_on_host "$i"); fi
    "${start[@]}" -f "$SLURM_CONF" -N "${hosts[i - 1]}" \
      2>"$slurm_dir/errors" || { cat "$slurm_dir/errors"; return 1; }
  done
  end=$((SECONDS + 60))
  while [ $SECONDS -lt $end ]; do
    [ "$(sinfo -h -p low -o '%T %D' 2>/dev/null)" = "idle $count" ] && return 0
    sleep 0.2
  done
  echo "Slurm's nodes did not come up:"
  sinfo -N -l
  tail -n 20 "$slurm_dir/munge/log" "$slurm_dir/slurmctld.log" "$slurm_dir"/slurmd-*.log
  return 2
}
