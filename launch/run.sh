#!/usr/bin/env bash
# Starts temper on many ranks, so that it can be stopped and started again without lost work. `launch/run.sh --help` says how.
#
# Why not mpirun alone: on SIGTERM and SIGINT it gives its ranks a second or two and kills them, but SIGUSR1 it hands on
# at once and waits. So this script starts it deaf to TERM and INT (Slurm sends TERM to every process of a job), out of
# reach of the terminal's Ctrl-C, and turns these signals into USR1. So it does HUP, which a lost terminal sends to this
# script alone: mpirun would go on with nobody to wait for it. Started by nohup this script does not hear HUP, and goes on.
set -uo pipefail

asked=   # the signal that asked to stop
interrupts=0
job=
ask_to_stop() {
  asked="${asked:-$1}"
  if [ "$1" = INT ]; then interrupts=$((interrupts + 1)); fi
  [ -n "$job" ] || return 0
  if [ "$interrupts" -gt 1 ]; then
    say "interrupted again: ending the ranks"
    # Not srun's own child: it is what ends the step when srun is gone.
    local ranks=
    [ "$launcher" = srun ] || ranks="$(cat "/proc/$job/task/$job/children" 2>/dev/null)"
    # shellcheck disable=SC2086
    kill -KILL $ranks "$job" 2>/dev/null
  else
    kill -USR1 "$job" 2>/dev/null
  fi
}
for signal in USR1 TERM INT HUP; do
  # shellcheck disable=SC2064
  trap "ask_to_stop $signal" "$signal"
done
# Who reads what this script says may be gone, after HUP or behind a pipe; the ranks are waited for all the same.
trap : PIPE

usage() {
  cat <<'TEXT'
usage: launch/run.sh [-n RANKS] [--max-restarts N] [--srun] [launcher's options] -- temper COMMAND ...

  -n RANKS           ranks to start
  --max-restarts N   how often a run that crashed is started again from its last checkpoint, with
                     --run.resume auto (0); not after exit codes 2 (configuration) and 4 (numeric trouble),
                     nor where it ends within 10 seconds 5 times in a row. A checkpoint that --run.resume
                     names is gone back to once. The run must have a name: --run.dir, on the command line or
                     in the --config file. There is a checkpoint every --train.checkpoint-every steps; with 0,
                     the default, there is none before the end, and a run that crashed begins anew
  --srun             start ranks with 'srun --mpi=pmix' instead of mpirun, within a job of Slurm
  --help             print this and stop

All other options go to the launcher. With mpirun ranks are not bound to cores unless an option says how:
temper shares the cores out, and mpirun would give each of two ranks one core.

SIGUSR1, SIGTERM, SIGINT (Ctrl-C) and SIGHUP (the terminal is lost; not with nohup): the ranks finish their step,
save and leave; a second SIGINT ends them at once.

In a batch job of Slurm, make this script the batch shell (exec), and ask for '--signal=B:USR1@300' and '--requeue':
after SIGUSR1 it puts the job back into the queue, also where a rank crashed while it left; not after exit codes 0, 2
and 4, nor where in 4 starts nothing was saved. So --time must be well above these 300 s.

exit codes: temper's (0 done, 1 the system failed, 2 bad configuration, 3 stopped and saved, 4 numeric trouble,
5 a rank stood still); 130 after a second SIGINT
TEXT
}

stopped_code=3
launcher=mpirun
max_restarts=0
ranks=()
options=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --srun) launcher=srun; shift ;;
    -n | -np) ranks=(-n "${2:-}"); shift $(($# > 1 ? 2 : 1)) ;;
    --max-restarts) max_restarts="${2:-}"; shift $(($# > 1 ? 2 : 1)) ;;
    *) options+=("$1"); shift ;;
  esac
done
say() { printf 'run.sh: %s\n' "$*" >&2; }
refuse() { say "error: $*; 'launch/run.sh --help' says how"; exit 2; }
[ $# -gt 1 ] || refuse "no program to start: give it after --, as in '-n 3 -- temper distill'"
shift
[[ "$max_restarts" =~ ^[0-9]+$ ]] || refuse "--max-restarts is '$max_restarts': give a number, 0 or more"
[ ${#ranks[@]} -eq 0 ] || [[ "${ranks[1]}" =~ ^[1-9][0-9]*$ ]] || refuse "-n is '${ranks[1]}': give the number of ranks, 1 or more"
command -v "$launcher" >/dev/null || refuse "$launcher is not installed, or not in PATH"

if [ "$launcher" = srun ]; then
  start=(srun --mpi=pmix "${ranks[@]}" "${options[@]}")
else
  bind=(--bind-to none)
  for option in "${options[@]}"; do
    case "$option" in --bind-to | -bind-to | --cpu-set | --cpu-list | --rankfile | -rf) bind=() ;; esac
  done
  start=(mpirun "${bind[@]}" "${ranks[@]}" "${options[@]}")
  # A blocked signal waits for ever; for its ranks mpirun lifts that. GNU's env, 8.31 or later, can do it.
  if env --block-signal=TERM,INT,HUP true 2>/dev/null; then start=(env --block-signal=TERM,INT,HUP "${start[@]}"); fi
fi

# Runs the program once; returns its exit code. The launcher has a process group of its own, so that Ctrl-C reaches this
# script alone, and begins with USR1 ignored, so that one that comes too early does not end it.
run_once() {
  set -m
  (trap '' USR1; exec "${start[@]}" "$@" </dev/null) &
  job=$!
  set +m
  local code nap= pause=1
  # A trap ends `wait` early. USR1 is sent again after 1, 2, 4 ... seconds: ranks that had not begun did not hear it.
  while :; do
    if [ -n "$asked" ] && [ "$interrupts" -lt 2 ]; then
      sleep $pause >/dev/null 2>&1 &
      nap=$!
      wait -n "$job" "$nap" 2>/dev/null
      kill "$nap" 2>/dev/null
      kill -USR1 "$job" 2>/dev/null
      pause=$((2 * pause))
    else
      wait "$job"
    fi
    kill -0 "$job" 2>/dev/null || break
  done
  wait "$job"
  code=$?
  job=
  return $code
}

# Not for ever: where --time is not longer than the warning of --signal, no start comes to do anything.
requeue() {
  [ -n "${SLURM_JOB_ID:-}" ] && [ "$asked" = USR1 ] || return 0
  local id="$SLURM_JOB_ID" starts=$((${SLURM_RESTART_COUNT:-0} + 1))
  # One task of an array has the array's own id, which by itself would mean all of its tasks.
  if [ "$id" = "${SLURM_ARRAY_JOB_ID:-}" ]; then id+="_$SLURM_ARRAY_TASK_ID"; fi
  if [ "$starts" -gt 3 ] && ! may_have_saved; then
    say "job $id is not put back into the queue: in $starts starts nothing was saved, as where its time limit (--time) is not" \
      "longer than the warning before it (--signal)"
    return
  fi
  say "putting job $id back into the queue"
  scontrol requeue "$id" || say "warning: Slurm did not requeue job $id (was it submitted with --requeue?)"
}

# Whether the run has a checkpoint or a finished stage; of a run without a name, and of other commands, nobody can tell.
may_have_saved() {
  local file
  [[ "$command" =~ ^(train|distill)$ ]] && [ -n "$run_dir" ] || return 0
  for file in "$run_dir"/checkpoints/{,*/}latest "$run_dir"/stages/*.json; do
    if [ -e "$file" ]; then return; fi
  done
  return 1
}

stopped_early() {
  say "stopped by SIG$asked before the ranks had begun"
  requeue
  exit $stopped_code
}

# A run goes back to a checkpoint that --run.resume names once: as soon as temper has taken it, it removes the later ones.
# A job that crashed before that must name it again; after that `auto` goes on from what was saved since.
named=  # that checkpoint's folder
later=  # the later ones when this script began
find_named() {
  local resume=
  while [ $# -gt 0 ]; do
    case "$1" in
      --run.resume) resume="${2:-}" ;;
      --run.resume=*) resume="${1#*=}" ;;
    esac
    shift
  done
  case "$resume" in '' | no | auto) return ;; esac
  named="$(CDPATH='' cd -P -- "$resume" 2>/dev/null && pwd)"
  later="$(later_checkpoints)"
}

# A line for each checkpoint after the named one, which tells it from another of the same step.
later_checkpoints() {
  local file step
  for file in "${named%/*}"/step-*/manifest.json; do
    step="${file%/manifest.json}"
    if [ "${step##*/step-}" -gt "${named##*/step-}" ] 2>/dev/null; then stat -c '%n %i %y' "$file"; fi
  done
}

was_taken() { [ -z "$later" ] || ! grep -qxF -- "$later" <<<"$(later_checkpoints)"; }

# Sets `arguments`: those given, and --run.resume auto in the place of what they say of it, and of writing over a run.
resume() {
  arguments=("$@")
  [ -z "$named" ] || was_taken || return 0
  arguments=()
  while [ $# -gt 0 ]; do
    case "$1" in
      --run.resume | --run.overwrite) shift ;;
      --run.resume=* | --run.overwrite=*) ;;
      --run.dir) if [ -n "$named" ]; then shift; else arguments+=("$1"); fi ;;
      --run.dir=*) [ -n "$named" ] || arguments+=("$1") ;;
      *) arguments+=("$1") ;;
    esac
    [ $# -eq 0 ] || shift
  done
  arguments+=(--run.resume auto --run.overwrite false)
  # `auto` wants the folder, and who names a checkpoint need not give it.
  [ -z "$named" ] || arguments+=(--run.dir "$run_dir")
}

# The run's folder, as the arguments or their --config file name it; empty: they do not, and a restart could not find it.
find_run_dir() {
  local config='' dir='' given=''
  while [ $# -gt 0 ]; do
    case "$1" in
      --run.dir) given=1 dir="${2:-}" ;;
      --run.dir=*) given=1 dir="${1#*=}" ;;
      --config) config="${2:-}" ;;
      --config=*) config="${1#*=}" ;;
    esac
    shift
  done
  if [ -n "$named" ]; then
    dir="${named%/checkpoints/*}"
  elif [ -z "$given" ] && [ -f "$config" ]; then
    dir="$(awk '
      { gsub(/^[ \t\r]+|[ \t\r]+$/, "") }
      /^#/ { next }
      /^\[/ { section = $0; gsub(/[][ \t]/, "", section); section = section "."; next }
      { key = value = $0
        sub(/[ \t]*=.*/, "", key)
        sub(/^[^=]*=[ \t]*/, "", value)
        gsub(/^"|"$/, "", value)
        if (section key == "run.dir") dir = value }
      END { print dir }' "$config")"
  elif [ -z "$given" ]; then
    dir="$config"  # not there, which temper says
  fi
  run_dir="$dir"
}

command="${2:-}"
find_named "$@"
find_run_dir "$@"
if [ "$max_restarts" -gt 0 ] && [ -z "$run_dir" ]; then
  refuse "--max-restarts $max_restarts, but the run has no name by which it could go on: give --run.dir DIR"
fi
arguments=("$@")
at_once=0  # runs in a row that ended before they can have done anything
for ((restarts = 0; ; ++restarts)); do
  [ -z "$asked" ] || stopped_early
  began=$SECONDS
  run_once "${arguments[@]}"
  code=$?
  if [ "$interrupts" -gt 1 ]; then exit 130; fi
  if [ -n "$asked" ]; then
    case $code in
      0 | 2 | 4) ;;
      "$stopped_code") requeue ;;
      138 | 143 | 130) stopped_early ;;
      *)
        say "exit code $code after SIG$asked: the last checkpoint counts"
        requeue
        ;;
    esac
    exit $code
  fi
  case $code in 0 | 2 | "$stopped_code" | 4) exit $code ;; esac
  if [ "$restarts" -ge "$max_restarts" ]; then
    [ "$max_restarts" -eq 0 ] || say "exit code $code; not started again, $max_restarts restarts were allowed"
    exit $code
  fi
  if [ $((SECONDS - began)) -lt 10 ]; then at_once=$((at_once + 1)); else at_once=0; fi
  if [ $at_once -ge 5 ]; then
    say "exit code $code within 10 seconds, 5 times in a row: not started again; the messages above say why it cannot begin"
    exit $code
  fi
  say "exit code $code; starting again from the last checkpoint (restart $((restarts + 1)) of $max_restarts)"
  resume "$@"
done
