#!/usr/bin/env bash
# Distilling under launch/run.sh while ranks are killed, stopped and asked to leave: the weights must be those of an undisturbed run, to the
# last bit. By hand, on a machine that does little else:     tests/soak.sh [MINUTES]     (60)
#
# First the undisturbed run, so that both take about twice MINUTES together. Then the same command again, and after each EVERY seconds one of:
#   kill   kill -9 of a random rank, teacher or student; launch/run.sh starts the job again from its last checkpoint
#   stop   SIGSTOP of a random rank: the watchdog ends the job, and launch/run.sh starts it again
#   term   SIGTERM to launch/run.sh: the job saves and leaves with exit code 3; the same command is given again
# Prints a line for each, and at its end whether checkpoints, metrics and the student are the same. Exit code 0 only if they are, and
# something was done to the run.
#
#   OUT=DIR (build/soak)   EVERY=SECONDS (60)   STEPS=N (as many as MINUTES take, measured)   SEED=N of the faults
#   AGAIN=yes   against the undisturbed run that OUT has, of as many steps: for other faults, or more of them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
minutes="${1:-60}" out="${OUT:-build/soak}" every="${EVERY:-60}"
RANDOM="${SEED:-1}"
temper=build/release/temper
[ -x "$temper" ] || { echo "soak.sh: $temper is not there: cmake --build --preset release --target temper" >&2; exit 2; }
if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
if [ "${AGAIN:-no}" = yes ]; then
  [ -f "$out/undisturbed/summary.json" ] || { echo "soak.sh: AGAIN=yes, and $out/undisturbed is no run that has ended" >&2; exit 2; }
  STEPS="$(sed -n 's/^steps = //p' "$out/undisturbed/config.ini")"
  rm -rf "$out/disturbed" "$out/disturbed.log"
else
  rm -rf "$out"
  mkdir -p "$out"
fi
began="$SECONDS"
say() { printf '[soak] %5d s  %s\n' $((SECONDS - began)) "$*"; }

# Ends launch/run.sh, lest it starts the ranks again, and then the ranks, stopped ones too; mpirun leaves when they are gone.
script=
end_job() {
  local launchers
  if [ -z "$script" ]; then return; fi
  mapfile -t launchers < <(pgrep -P "$script")
  kill -KILL "$script" 2>/dev/null || true
  if [ ${#launchers[@]} -eq 0 ]; then return; fi
  for _ in $(seq 50); do
    kill -0 "${launchers[@]}" 2>/dev/null || return 0
    pkill -KILL -P "$(IFS=,; echo "${launchers[*]}")" || true
    sleep 0.1
  done
  kill -KILL "${launchers[@]}" 2>/dev/null || true
}
trap end_job EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

job() {  # FOLDER STEPS: the command, without exec
  start=(launch/run.sh -n 3 --oversubscribe --max-restarts 100000 -- "$temper" distill --run.dir "$1" --run.threads 1 --run.resume auto --run.timeout 20
    --launch.teachers 1 --teacher.layers 4 --teacher.width 128 --teacher.heads 4 --teacher.positions 128 --student.layers 2
    --student.width 64 --student.heads 4 --student.positions 128 --train.steps "$2" --train.batch 8 --train.seq 128 --train.warmup 20
    --train.checkpoint-every 100 --train.log-every 500 --evaluate.max-tokens 4096)
}
undisturbed() {  # LOG: the command, to its end
  "${start[@]}" >"$1" 2>&1 &
  script=$!
  wait "$script" || { tail "$1"; exit 1; }
  script=
}

steps="${STEPS:-}"
if [ -z "$steps" ]; then
  job "$out/rate" 200
  from="$SECONDS"
  undisturbed "$out/rate.log"
  steps=$((minutes * 60 * 200 / (SECONDS - from + 1) * 3 / 4 / 100 * 100))
  say "200 steps took $((SECONDS - from)) s: $steps steps"
fi
if [ "${AGAIN:-no}" = no ]; then
  job "$out/undisturbed" "$steps"
  undisturbed "$out/undisturbed.log"
  say "undisturbed: done"
fi

job "$out/disturbed" "$steps"
declare -A count=([kill]=0 [stop]=0 [term]=0)
ranks() { pgrep -f -- "$temper distill --run.dir $out/disturbed " | while read -r pid; do
  if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = temper ]; then echo "$pid"; fi; done; }
done_steps() { tail -n 1 "$out/disturbed/metrics.jsonl" 2>/dev/null | sed -n 's/.*"step":\([0-9]*\),.*/\1/p'; }
code=3
asked=no
# Asked to leave, the same command again: also where a stopped rank kept the job from saving first.
while [ "$code" -eq 3 ] || { [ "$code" -ne 0 ] && [ $asked = yes ]; }; do
  asked=no
  "${start[@]}" >>"$out/disturbed.log" 2>&1 &
  script=$!
  while kill -0 "$script" 2>/dev/null; do
    for _ in $(seq "$every"); do
      sleep 1
      kill -0 "$script" 2>/dev/null || break 2
    done
    mapfile -t pids < <(ranks)
    [ ${#pids[@]} -eq 3 ] || continue  # it is starting again
    victim="${pids[$((RANDOM % 3))]}"
    rank="$(tr '\0' '\n' <"/proc/$victim/environ" 2>/dev/null | sed -n 's/^OMPI_COMM_WORLD_RANK=//p')"
    case $((RANDOM % 3)) in
      0) what=kill; kill -9 "$victim" 2>/dev/null || continue ;;
      1) what=stop; kill -STOP "$victim" 2>/dev/null || continue ;;
      2) what=term; kill -TERM "$script" 2>/dev/null || continue; asked=yes ;;
    esac
    count[$what]=$((count[$what] + 1))
    say "$what$([ "$what" = term ] || echo " rank $rank"), at step $(done_steps)"
  done
  code=0
  wait "$script" || code=$?
  script=
done
[ "$code" -eq 0 ] || { say "launch/run.sh ended with exit code $code"; tail "$out/disturbed.log"; exit 1; }
say "disturbed: done; ${count[kill]} killed, ${count[stop]} stopped, ${count[term]} asked to leave"
[ $((count[kill] + count[stop] + count[term])) -gt 0 ] || { say "that shows nothing: give more MINUTES, or a smaller EVERY"; exit 1; }

status=0
same() {  # WHAT COMMAND...
  if "${@:2}" >/dev/null; then say "$1: the same"; else say "$1: DIFFERENT"; status=1; fi
}
losses() { python3 -c 'import json, sys
for line in open(sys.argv[1]):
    row = json.loads(line)
    print([row[key] for key in ("step", "loss", "kl", "ce", "grad_norm", "lr", "tokens")])' "$1"; }
same "the student" cmp "$out/undisturbed/student/model.safetensors" "$out/disturbed/student/model.safetensors"
same "its temperature" cmp "$out/undisturbed/student/generation_config.json" "$out/disturbed/student/generation_config.json"
same "losses and gradient norms of $steps steps" cmp <(losses "$out/undisturbed/metrics.jsonl") <(losses "$out/disturbed/metrics.jsonl")
last="checkpoints/step-$(printf '%08d' "$steps")"
for file in "$out/undisturbed/$last"/*.safetensors; do
  same "the last checkpoint's $(basename "$file")" cmp "$file" "$out/disturbed/$last/$(basename "$file")"
done
exit "$status"
