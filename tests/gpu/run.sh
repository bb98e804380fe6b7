#!/usr/bin/env bash
# What only a GPU can tell: run.sh [PART...]     (all parts, in this order)
#
#   devices        the GPU is seen, and temper starts and would use it
#   kernels        gpu_test: our CUDA kernels against the CPU's
#   student_test   the ordinary tests of losses and training, in the build for CUDA
#   sanitizer      gpu_test's tests named Sanitize under compute-sanitizer's memcheck
#   ranks          gpu_ranks_test: collectives of two ranks, and NCCL's stream; where there is one GPU, what can do with that
#   colocated      the main job, one process: the losses of every step on the GPU against those on the CPU, fp32, to 1e-3
#   two_ranks      the same with a teacher and a student rank, soft targets by messages
#   folders        the student that the GPU run wrote, judged on CPU and GPU: the same NLL to 1e-3
#   head           the time of output head and loss at 8,192 tokens x 4,096 x 128,256, bf16
#   step           GPT-2's shape of 124M, vocabulary 50,304, 8 x 1,024 tokens a step, bf16: trained plainly, on recorded draws, and from a
#                  teacher of 1.5B's shape beside it; torch.compile at the same; how much of the time the GPU is idle
#
# Prints a line a part: name, passed or failed or skipped, seconds, why. OUT has each part's output, and result.json. The exit code is 1
# if a part failed. Without a GPU all parts are skipped, and the exit code is 0.
#
#   OUT=DIR (build/gpu-results)   DEVICE=cpu: try the script without a GPU   LIMIT=SECONDS a part, in place of the parts' own limits
#   STEPS=N of the job (60)   THREADS=N of a rank (0: all cores)   KEEP=DIR: keep the job's run folders there
#   BUNDLE=DIR, TEMPER_LIBTORCH=DIR: see environment.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export LC_ALL=C GTEST_COLOR=no
source tests/gpu/environment.sh
PATH+=:/usr/local/cuda/bin:/usr/local/nvidia/bin  # where nvidia-smi and compute-sanitizer are, if nobody said so

known=(devices kernels student_test sanitizer ranks colocated two_ranks folders head step)
declare -A limits=([devices]=120 [kernels]=150 [student_test]=150 [sanitizer]=180 [ranks]=120 [colocated]=120 [two_ranks]=120 [folders]=60 [head]=90 [step]=300)
parts=("$@")
if [ $# -eq 0 ]; then parts=("${known[@]}"); fi
for part in "${parts[@]}"; do
  [[ " ${known[*]} " == *" $part "* ]] || { echo "run.sh: no part '$part': give some of ${known[*]}" >&2; exit 2; }
done
device="${DEVICE:-cuda}" steps="${STEPS:-60}" threads="${THREADS:-0}"
[[ "$device" =~ ^(cuda|cpu)$ ]] || { echo "run.sh: DEVICE is '$device': give cuda or cpu" >&2; exit 2; }
out="${OUT:-build/gpu-results}"
mkdir -p "$out"
out="$(cd "$out" && pwd)"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
runs="${KEEP:-$scratch/runs}"
mkdir -p "$runs"

# In a part: why it was skipped, failed or what it found goes into the report.
note() { echo "$*" >"$scratch/reason"; echo "$*"; }
skip() { note "$*"; exit 77; }
fail() { note "$*"; exit 1; }
left() { echo $((deadline > SECONDS ? deadline - SECONDS : 1)); }  # seconds of the part's time
limited() { timeout -k 10 "$(left)" "$@"; }
needs_gpu() { [ "$device" = cuda ] || skip "for a GPU only"; }
needs_program() { gpu_program "$1" >/dev/null || skip "$1 is not built ($(gpu_program "$1" || true))"; }
limited_gpu() { gpu timeout -k 10 "$(left)" "$@"; }  # with the programs' libraries in reach
mpi() { limited_gpu mpirun --oversubscribe --bind-to none "$@"; }

# finished STATUS: a GoogleTest program's end, from the part's output; one that tested nothing has failed
finished() {
  local passed skipped
  passed="$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | tail -n 1)"
  skipped="$(sed -n 's/^\[  SKIPPED \] \([0-9]*\) test.*/\1/p' "$log" | tail -n 1)"
  [ "$1" -eq 0 ] || [ -z "$passed" ] || fail "$(grep -c '^\[  FAILED  \].*ms)$' "$log" || true) of its tests failed"
  if [ "$1" -ne 0 ]; then exit "$1"; fi
  [ "${passed:-0}" -gt 0 ] || fail "no test ran${skipped:+, $skipped skipped}"
  note "$passed tests passed${skipped:+, $skipped skipped}"
}

part_devices() {
  if [ "$device" = cuda ]; then limited nvidia-smi -L; fi
  local temper
  temper="$(gpu_program temper)"
  echo "the program is $temper"
  echo "LibTorch is in $gpu_libtorch"
  limited_gpu "$temper" --help | sed -n 1p
  limited_gpu "$temper" distill --dry-run --run.device "$device" >"$scratch/plan"
  cat "$scratch/plan"
  grep -q "^Ranks: 1 .*device $device" "$scratch/plan" || fail "temper does not run on --run.device $device: see the line 'Ranks'"
  note "${gpu:-no GPU}"
}

part_kernels() {
  needs_gpu
  needs_program gpu_test
  local status=0
  limited_gpu "$(gpu_program gpu_test)" || status=$?
  finished "$status"
}

part_student_test() {
  needs_program student_test
  local status=0
  OMP_NUM_THREADS=1 mpi -n 1 "$(gpu_program student_test)" || status=$?
  finished "$status"
}

part_sanitizer() {
  needs_gpu
  needs_program gpu_test
  command -v compute-sanitizer >/dev/null || skip "compute-sanitizer is not here (it comes with the CUDA toolkit)"
  # Each tensor in memory of its own: what runs over its end would otherwise land in LibTorch's pool, where nobody sees it.
  local status=0
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 limited_gpu compute-sanitizer --tool memcheck --report-api-errors no --error-exitcode 9 \
    "$(gpu_program gpu_test)" '--gtest_filter=*Sanitize*' || status=$?
  if grep -q 'Device not supported' "$log"; then skip "compute-sanitizer: device not supported"; fi
  if [ "$status" -eq 9 ]; then fail "$(grep 'ERROR SUMMARY' "$log" | tail -n 1 | sed 's/^=* *//')"; fi
  finished "$status"
}

part_ranks() {
  needs_gpu
  needs_program gpu_ranks_test
  local status=0
  OMP_NUM_THREADS=1 mpi -n 2 "$(gpu_program gpu_ranks_test)" || status=$?
  finished "$status"
}

# job FOLDER DEVICE RANKS: the main job on the built-in language with a teacher that it trains first. 8 x 128 tokens a step.
eval_tokens=8192
job() {
  local folder="$runs/$1" start=() teachers=0
  if [ -e "$scratch/done-$1" ]; then return; fi
  if [ "$3" -gt 1 ]; then
    start=(mpirun --oversubscribe --bind-to none -n "$3")
    teachers=1
  fi
  limited_gpu ${start[@]+"${start[@]}"} "$(gpu_program temper)" distill --run.device "$2" --run.precision fp32 --run.seed 1 \
    --run.threads "$threads" --run.dir "$folder" --run.overwrite true --launch.teachers "$teachers" --teacher.transport messages \
    --teacher.layers 4 --teacher.width 128 --teacher.heads 4 --teacher.positions 128 --teacher.train-steps "$steps" \
    --teacher.train-lr 2e-3 --student.layers 2 --student.width 64 --student.heads 4 --student.positions 128 --train.steps "$steps" \
    --train.batch 8 --train.seq 128 --train.lr 2e-3 --train.warmup 10 --train.log-every 10 --evaluate.max-tokens "$eval_tokens"
  touch "$scratch/done-$1"
}

compare_runs() {  # REFERENCE OTHER
  local status=0
  python3 tests/gpu/compare_losses.py "$runs/$1" "$runs/$2" >"$scratch/compared" 2>&1 || status=$?
  cat "$scratch/compared"
  tail -n 1 "$scratch/compared" >"$scratch/reason"
  return "$status"
}

part_colocated() {
  job cpu-1 cpu 1
  job device-1 "$device" 1
  compare_runs cpu-1 device-1
}

part_two_ranks() {
  job cpu-2 cpu 2
  job device-2 "$device" 2
  compare_runs cpu-2 device-2
}

part_folders() {
  job device-1 "$device" 1
  local where
  for where in cpu "$device"; do
    limited_gpu "$(gpu_program temper)" evaluate --model.path "$runs/device-1/student" --run.device "$where" --run.threads "$threads" \
      --train.seq 128 --evaluate.max-tokens "$eval_tokens" --json >"$scratch/evaluated-$where.json"
  done
  local compare='
import json, sys
read = lambda path: json.load(open(path))
student = [r for r in read(sys.argv[1])["results"] if "student" in r["name"]][0]
nll = {"the run itself": student["test"]["before"]["nll"], "evaluate on the CPU": read(sys.argv[2])["nll"],
       "evaluate on " + sys.argv[4]: read(sys.argv[3])["nll"]}
for name, value in nll.items(): print(f"NLL of {name}: {value:.6f}")
apart = max(nll.values()) - min(nll.values())
print(f"NLL {min(nll.values()):.6f}, at most {apart:.1e} apart")
sys.exit(0 if apart <= 1e-3 else 1)'
  local status=0
  python3 -c "$compare" "$runs/device-1/summary.json" "$scratch"/evaluated-{cpu,"$device"}.json "$device" >"$scratch/compared" 2>&1 || status=$?
  cat "$scratch/compared"
  tail -n 1 "$scratch/compared" >"$scratch/reason"
  return "$status"
}

part_head() {
  needs_gpu
  needs_program head_loss_bench
  limited_gpu "$(gpu_program head_loss_bench)" --device cuda --tokens 8192 --width 4096 --vocab 128256 --teacher full --dtype bf16 --json |
    tee "$scratch/bench"
  tail -n 1 "$scratch/bench" >"$scratch/reason"
}

part_step() {
  needs_gpu
  local temper at="$scratch/step" name
  temper="$(gpu_program temper)"
  mkdir -p "$at"
  python3 tests/bench/pytorch_step.py tokens --vocab 50304 --batch 8 --seq 1024 "$at/tokens.npy"
  local shape=(--student.family gpt2 --student.layers 12 --student.width 768 --student.heads 12)
  train() {  # NAME COMMAND OPTIONS...
    limited_gpu "$temper" "$2" --run.dir "$at/$1" --run.overwrite true --run.device cuda --run.precision bf16 --run.threads "$threads" \
      --data.source tokens --data.tokens "$at/tokens.npy" --data.vocab 50304 --train.batch 8 --train.seq 1024 --evaluate.max-tokens 1 \
      "${@:3}" >"$at/$1.txt" 2>&1 || { cat "$at/$1.txt"; return 1; }
  }
  train recorded distill "${shape[@]}" --teacher.family gpt2 --teacher.layers 2 --teacher.width 128 --teacher.heads 2 --train.steps 40 \
    --teacher.payload sample --teacher.tee "$at/store"
  train replay distill "${shape[@]}" --teacher.store "$at/store" --teacher.payload sample --train.steps 40
  train plain train --model.family gpt2 --model.layers 12 --model.width 768 --model.heads 12 --train.steps 40
  (
    busy=
    trap 'if [ -n "$busy" ]; then kill "$busy" || true; fi' EXIT
    trap 'exit 143' TERM
    while [ "$(cat "$at/distilled/metrics.jsonl" 2>/dev/null | wc -l)" -lt 30 ]; do sleep 0.1; done
    nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits -lms 200 >"$at/busy.csv" &
    busy=$!
    while [ "$(wc -l <"$at/distilled/metrics.jsonl")" -lt 145 ]; do sleep 0.1; done
  ) &
  local watch=$!
  # shellcheck disable=SC2064
  trap "kill $watch || true" EXIT  # of the part, which may end anywhere
  train distilled distill "${shape[@]}" --teacher.family gpt2 --teacher.layers 48 --teacher.width 1600 --teacher.heads 25 \
    --teacher.payload hidden --train.steps 150
  wait "$watch" || true
  trap - EXIT
  for name in plain distilled; do
    local teacher=48x1600x25
    if [ "$name" = plain ]; then teacher=none; fi
    limited python3 tests/bench/pytorch_step.py step --device cuda --family gpt2 --student 12x768x12 --teacher "$teacher" --vocab 50304 \
      --batch 8 --seq 1024 --precision bf16 --compile default --steps 20 --skip 5 >"$at/$name-compiled.json" || echo "no peer for $name"
  done
  local status=0
  python3 tests/gpu/step_report.py "$gpu" "$at" >"$scratch/report" || status=$?
  cat "$scratch/report"
  tail -n 1 "$scratch/report" >"$scratch/reason"
  return "$status"
}

write_result() {
  python3 - "$scratch/parts" "$out/result.json" "$device" "$gpu" "$driver" "$torch" <<'E2'
import json, sys
parts, result, device, gpu, driver, torch = sys.argv[1:]
rows = [line.rstrip("\n").split("\t", 3) for line in open(parts)]
json.dump({"device": device, "gpu": gpu, "driver": driver, "torch": torch,
           "parts": [{"name": n, "status": s, "seconds": float(t), "reason": r} for n, s, t, r in rows]}, open(result, "w"), indent=1)
E2
}

gpu="" driver="" torch="" nothing=""
if gpu_all="$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null)" && [ -n "$gpu_all" ]; then
  IFS=, read -r gpu driver <<<"$gpu_all"
  driver="${driver# }"
elif [ "$device" = cuda ]; then
  nothing="no GPU is visible here (nvidia-smi finds none)"
  echo "run.sh: NOTHING IS TESTED: $nothing. DEVICE=cpu tries the script without one" >&2
fi
if [ -z "$nothing" ]; then
  gpu_environment
  torch="$(gpu_libtorch_version "$gpu_libtorch")"
fi

: >"$scratch/parts"
rm -f "$out/result.json"
failed=0
for part in "${parts[@]}"; do
  rm -f "$scratch/reason"
  log="$out/$part.log"
  limit="${LIMIT:-${limits[$part]}}" began="${EPOCHREALTIME/./}" status=0 reason=""
  deadline=$((SECONDS + limit))
  if [ -n "$nothing" ]; then
    status=77
    rm -f "$log"
    echo "$nothing" >"$scratch/reason"
  else
    set +e
    (set -e; "part_$part") </dev/null >"$log" 2>&1
    status=$?
    set -e
  fi
  case "$status" in
    0) word=passed ;;
    77) word=skipped ;;
    *) word=failed failed=$((failed + 1)) ;;
  esac
  if [ "$word" = failed ] && [ "$SECONDS" -ge "$deadline" ]; then
    reason="not done within $limit seconds"
  elif [ -e "$scratch/reason" ]; then
    reason="$(tr '\n\t' '  ' <"$scratch/reason" | sed 's/ *$//')"
  elif [ "$word" = failed ]; then
    reason="exit code $status: $(grep -v '^frame #' "$log" | grep -iE 'error|^[a-z_]+: ' | head -n 1 | tr '\t' ' ' | cut -c 1-300)" || true
  fi
  took=$((${EPOCHREALTIME/./} - began))
  seconds="$((took / 1000000)).$(printf '%06d' $((took % 1000000)) | cut -c 1)"
  printf '%-13s %-8s %6s  %s\n' "$part" "$word" "$seconds" "$reason"
  printf '%s\t%s\t%s\t%s\n' "$part" "$word" "$seconds" "$reason" >>"$scratch/parts"
  write_result
done
echo "output and result.json: $out"
[ "$failed" -eq 0 ] || exit 1
