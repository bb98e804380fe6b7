#!/usr/bin/env bash
# temper on a real Slurm cluster, of one node or of two test hosts: the shipped templates run to the end, are preempted,
# cancelled and stopped by their time limit, and lose no work.
#
#   tests/slurm/run.sh CASE...     from the checkout's root, after the build; TEMPER_PROGRAM_DIR names the build's folder
#
# Exits with 77, which ctest counts as skipped, where this machine does not let us bring up a cluster: packages or rights are
# missing. A cluster whose nodes do not come up is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/slurm/cluster.sh
slurm_check || exit 77

export OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
temper="${TEMPER_PROGRAM:-build/release/temper}"
work="$(mktemp -d /tmp/temper-slurm-runs-XXXXXX)"
fail() {
  echo "FAILED: $*"
  for log in "$work"/*.log; do echo "--- $log"; tail -n 40 "$log"; done
  echo "--- Slurm"
  grep -hi -E "error|fail|warn" "$slurm_dir"/slurmd-*.log "$slurm_dir/slurmctld.log" | tail -n 20
  exit 1
}
finish() { slurm_down; rm -rf "$work"; }

# A small job; its learning rate does not depend on the number of steps.
options=(--run.threads 1 --teacher.layers 2 --teacher.width 64 --teacher.heads 4 --teacher.train-steps 0
  --student.layers 2 --student.width 64 --student.heads 4 --compare.hard-labels false
  --train.batch 8 --train.seq 64 --train.warmup 2 --train.lr-schedule constant --evaluate.max-tokens 256)
export TEMPER_TEACHERS=1
submit() {  # TEMPLATE RUN STEPS [sbatch's options...]
  local file="launch/slurm/$1.sbatch" run="$2" steps="$3" size
  case "$1" in
    nodes-*) size=(--nodes=2 --ntasks-per-node=2 --cpus-per-task=1) ;;
    two-partitions) size=() ;;  # as it is shipped
    *) size=(--ntasks=3 --cpus-per-task=1) ;;
  esac
  shift 3
  # seeds.sbatch, which is not submitted here, says itself how many seeds a run has.
  TEMPER_RUN="$work/$run" sbatch --parsable "${size[@]}" --output="$work/$run.log" "$@" \
    "$file" "${options[@]}" --compare.seeds 1 --train.steps "$steps"
}
field() { scontrol show job "$1" | tr ' ' '\n' | sed -n "s/^$2=//p" | head -1; }  # JOB FIELD
lines() { cat "$work/$1/metrics.jsonl" 2>/dev/null | wc -l; }
wait_for() {  # SECONDS WHAT CONDITION...
  local end=$((SECONDS + $1)) what="$2"
  shift 2
  until "$@"; do
    [ $SECONDS -lt $end ] || { squeue; fail "waited in vain until $what"; }
    sleep 0.1
  done
}
has_steps() { [ "$(lines "$1")" -ge "$2" ]; }
in_state() { [[ " $2 " == *" $(field "$1" JobState) "* ]]; }
restarted() { [ "$(field "$1" Restarts)" -ge 1 ]; }
saved() {  # RUN: the job said where its state is, and it is there
  local folder
  folder="$(sed -n 's/.*saved in \([^ ;]*\).*/\1/p' "$work/$1.log" | tail -1)"
  [ -n "$folder" ] || fail "$1 does not say where it saved"
  [ -d "$folder" ] || fail "$1 says it saved in $folder, which is not there"
  echo "  $(sed -n 's/^temper: //p' "$work/$1.log" | tail -1 | sed "s|$work/||")"
}
ends_like() {  # RUN REFERENCE STEPS: every step once, in order, with the losses of the undisturbed run
  python3 - "$work/$1/metrics.jsonl" "$work/$2/metrics.jsonl" "$3" <<'PYTHON' || fail "$1 did not go as $2"
import json, sys
own, reference = ([json.loads(line) for line in open(path)] for path in sys.argv[1:3])
steps = int(sys.argv[3])
assert [line["step"] for line in own] == list(range(steps)), "steps are missing or come twice"
differ = [a["step"] for a, b in zip(own, reference) if a["loss"] != b["loss"]]
assert len(reference) >= steps and not differ, f"losses differ from step {differ[:1]} on"
print(f"  {steps} steps, each once, the losses of the undisturbed run bit for bit")
PYTHON
}
reference() {  # STEPS [TEMPLATE]
  local job
  job="$(submit "${2:-one-node-srun}" reference "$1")"
  wait_for 200 "the undisturbed run has ended" in_state "$job" COMPLETED
}
# On any machine there is time to disturb a job of 150 steps: each after the 50th takes 0.2 s longer.
unhurried=(--debug.fault 0:50:slow)
goes_on() {  # JOB RUN STEPS: a requeued job ends like an undisturbed one
  wait_for 300 "job $1 has gone on to its end" in_state "$1" COMPLETED
  ends_like "$2" reference "$3"
}

case_finish() {
  local job
  job="$(submit one-node-srun finish 60)"
  wait_for 60 "the job has ended" in_state "$job" "COMPLETED FAILED CANCELLED"
  in_state "$job" COMPLETED || fail "state $(field "$job" JobState)"
  has_steps finish 60 && [ -f "$work/finish/summary.json" ] || fail "the run is not complete"
  job="$(submit one-node-mpirun finish-mpirun 60)"
  wait_for 60 "the job has ended" in_state "$job" "COMPLETED FAILED CANCELLED"
  in_state "$job" COMPLETED && [ -f "$work/finish-mpirun/summary.json" ] || fail "mpirun: state $(field "$job" JobState)"
  job="$(TEMPER_RUN="$work/seed" sbatch --parsable --array=1-2%1 --ntasks=3 --cpus-per-task=1 --output="$work/seed-%a.log" \
    launch/slurm/seeds.sbatch "${options[@]}" --train.steps 20)"
  wait_for 60 "both seeds have ended" eval '[ -f "$work/seed-1/summary.json" ] && [ -f "$work/seed-2/summary.json" ]'
  cmp -s "$work/seed-1/metrics.jsonl" "$work/seed-2/metrics.jsonl" && fail "both seeds gave the same losses"
  echo "  one-node-srun, one-node-mpirun and an array of two seeds ran to the end"
}

case_pmix() {
  srun --mpi=pmix -n 3 "$temper" distill "${options[@]}" --launch.teachers 1 --train.steps 5 --run.dir "$work/pmix" \
    >"$work/pmix.log" 2>&1 || fail "srun --mpi=pmix -n 3"
  grep -q "1 teacher, 2 student" "$work/pmix.log" || fail "not one job of three ranks"
  local code=0
  srun --mpi=none -n 3 "$temper" distill "${options[@]}" --run.dir "$work/none" >"$work/none.log" 2>&1 || code=$?
  [ $code -eq 2 ] || fail "without PMI: exit code $code"
  [ "$(grep -c "error: SLURM_NTASKS is 3.*srun --mpi=pmix" "$work/none.log")" -eq 1 ] || fail "no advice, or not once"
  [ ! -e "$work/none" ] || fail "something was begun"
  # In the batch shell a command is alone by right.
  sbatch --wait -n 3 --output="$work/batch.log" --wrap "'$temper' distill --dry-run" >/dev/null || fail "alone in a batch shell"
  echo "  srun --mpi=pmix -n 3 is one job; without PMI: $(grep -o "error: SLURM_NTASKS is 3.*" "$work/none.log")"
}

preempted() {  # TEMPLATE RUN [unsaved]: it goes on by itself; unsaved: it had no time to save first
  local job high
  reference 150 "$1"
  local options=("${options[@]}" "${unhurried[@]}")
  job="$(submit "$1" "$2" 150)"
  wait_for 60 "the job trains" has_steps "$2" 50
  high="$(sbatch --parsable --partition=high --nodes="$((slurm_hosts > 0 ? slurm_hosts : 1))" --exclusive --output=/dev/null --wrap 'sleep 2')"
  wait_for 60 "job $job has been requeued" restarted "$job"
  wait_for 60 "the job of the higher partition has run" in_state "$high" COMPLETED
  [ "${3:-}" = unsaved ] || saved "$2"
  goes_on "$job" "$2" 150
}
case_preempt() { preempted one-node-srun preempt; }

case_preempt_mpirun() { preempted one-node-mpirun preempt-mpirun; }

# The cluster gives notice: SIGUSR1 to the batch shell, and time to leave.
case_preempt_notice() {
  preempted one-node-srun preempt-notice
  grep -q "stopped by SIGUSR1" "$work/preempt-notice.log" || fail "it was not stopped by SIGUSR1"
  grep -q "back into the queue" "$work/preempt-notice.log" || fail "run.sh did not requeue the job"
}

says() {  # RUN WORDS
  grep -q "$2" "$work/$1.log" || fail "$1 does not say '$2'"
}

# Two nodes, two ranks on each: the teacher has one student beside it.
case_nodes_srun() {
  preempted nodes-srun nodes-srun
  says nodes-srun "1 pair through shared memory, 2 by messages"
}

# Slurm ends mpirun's daemon on the other node, and its ranks with it, before anything is saved: the last checkpoint counts.
case_nodes_mpirun() {
  local options=("${options[@]}" --train.checkpoint-every 20)
  preempted nodes-mpirun nodes-mpirun unsaved
  says nodes-mpirun "1 pair through shared memory, 2 by messages"
  says nodes-mpirun "^resume .*/step-[0-9]*: "
  grep "^resume .*/step-[0-9]*: " "$work/nodes-mpirun.log" | sed "s|$work/||; s/^/  /"
}

# With notice it saves.
case_nodes_mpirun_notice() {
  preempted nodes-mpirun nodes-notice
  says nodes-notice "stopped by SIGUSR1"
  says nodes-notice "back into the queue"
}

case_two_partitions() {
  local job
  job="$(submit two-partitions two-partitions 60)"
  wait_for 100 "the job has ended" in_state "$job" "COMPLETED FAILED CANCELLED"
  in_state "$job" COMPLETED || fail "state $(field "$job" JobState)"
  says two-partitions "2 pairs by messages"
}

case_scancel() {
  local job steps
  reference 150
  local options=("${options[@]}" "${unhurried[@]}")
  job="$(submit one-node-srun scancel 150)"
  wait_for 60 "the job trains" has_steps scancel 50
  scancel "$job"
  wait_for 60 "the job has gone" in_state "$job" CANCELLED
  wait_for 60 "its ranks have gone" eval '[ -z "$(squeue -h -j '"$job"' 2>/dev/null)" ]'
  saved scancel
  [ "$(field "$job" Restarts)" -eq 0 ] || fail "a cancelled job was requeued"
  steps="$(lines scancel)"
  [ "$steps" -lt 150 ] || fail "cancelled too late to show anything"
  job="$(submit one-node-srun scancel 150)"
  goes_on "$job" scancel 150
}

case_time_limit() {
  local job
  reference 320
  # slurmctld looks every 30 s whether the signal is due within 30 s: it comes 29 to 59 s into the job, after the start-up, and
  # before 320 steps of 0.2 s are over.
  local options=("${options[@]}" --debug.fault 0:0:slow)
  job="$(submit one-node-srun time-limit 320 --time=1 --signal=B:USR1@1)"
  wait_for 120 "job $job has been requeued" restarted "$job"
  saved time-limit
  grep -q "stopped by SIGUSR1" "$work/time-limit.log" || fail "it was not stopped by SIGUSR1"
  goes_on "$job" time-limit 320
}

[ $# -gt 0 ] || set -- finish pmix preempt preempt_mpirun preempt_notice scancel time_limit nodes_srun nodes_mpirun nodes_mpirun_notice two_partitions
for name in "$@"; do
  slurm_low_options="" slurm_more="" slurm_hosts=0
  if [[ "$name" = *_notice ]]; then
    slurm_low_options="GraceTime=30" slurm_more="SlurmctldParameters=preempt_send_user_signal"
  fi
  case "$name" in
    nodes_* | two_partitions)
      hosts_check || exit 77
      slurm_hosts=2
      ;;
  esac
  code=0
  slurm_up || code=$?
  case $code in
    0) ;;
    1) echo "no Slurm: a cluster cannot be brought up here"; exit 77 ;;
    *) exit 1 ;;
  esac
  trap finish EXIT
  echo "case $name"
  start=$SECONDS
  "case_$name"
  echo "  passed after $((SECONDS - start)) s"
  slurm_down
  rm -rf "${work:?}"/*
done
