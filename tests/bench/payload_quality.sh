#!/usr/bin/env bash
# One table: students trained with each payload for the same steps, three seeds each, at T = 1 and 4: on the test part their KL to
# the teacher (at T = 1), NLL and expected calibration error, before and after the fit of the temperature.
#   tests/bench/payload_quality.sh TEXT [FOLDER]       JOBS=2 runs so many at once, one thread each; finished runs are kept
#   STEPS=N (300)
source "$(dirname "${BASH_SOURCE[0]}")/payload_models.sh"
export temper work text teacher student_shape

one() {
  local name="$1" temperature="$2" seed="$3"
  shift 3
  local run="$work/quality/$name-T$temperature-$seed"
  if [ -f "$run/evaluation.json" ]; then return; fi
  # shellcheck disable=SC2086
  OMP_NUM_THREADS=1 "$temper" distill --run.dir "$run" --run.overwrite true --run.seed "$seed" --run.threads 1 --run.precision bf16 \
    --data.source text --data.text "$text" --data.tokenizer "$teacher" --teacher.path "$teacher" --teacher.temperature "$temperature" \
    $student_shape --loss.alpha 0.9 --train.steps "${STEPS:-300}" --train.batch 8 --train.seq 128 --train.lr 3e-3 \
    --evaluate.max-tokens 16384 "$@" >"$run.txt" 2>&1
  "$temper" evaluate --json --run.threads 1 --model.path "$run/student" --evaluate.teacher "$teacher" --data.source text --data.text "$text" \
    --evaluate.max-tokens 16384 >"$run.json" 2>>"$run.txt"
  mv "$run.json" "$run/evaluation.json"
  echo "[bench] $name, T = $temperature, seed $seed" >&2
}
export -f one
made_of "$work/quality" "$the_text and STEPS=${STEPS:-300}"
mkdir -p "$work/quality"
for seed in 1 2 3; do
  for temperature in 1 4; do
    echo "full $temperature $seed --teacher.payload full"
    echo "hidden $temperature $seed --teacher.payload hidden"
    echo "topk-64-bucket $temperature $seed --teacher.payload topk --teacher.topk 64"
    echo "topk-64-renormalise $temperature $seed --teacher.payload topk --teacher.topk 64 --loss.tail renormalise"
    echo "sample-12 $temperature $seed --teacher.payload sample --teacher.draws 12"
  done
done | xargs -P "${JOBS:-2}" -I {} bash -c 'set -euo pipefail; one {}'

python3 - "$work/quality" <<'PY'
import json, sys
rows = {}
for name in ["full", "hidden", "topk-64-bucket", "topk-64-renormalise", "sample-12"]:
    for t in "1", "4":
        for seed in 1, 2, 3:
            run = f"{sys.argv[1]}/{name}-T{t}-{seed}"
            own = json.load(open(f"{run}/evaluation.json"))
            student = [r for r in json.load(open(f"{run}/summary.json"))["results"] if r["name"] != "teacher"][0]
            rows.setdefault((t, name), []).append(
                (own["kl_to_teacher"], own["nll"], own["ece"], student["test"]["after"]["ece"], student["temperature"]))
print("| T | payload | KL to the teacher | NLL | ECE | ECE, calibrated | fitted T |")
print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
for (t, name), values in sorted(rows.items()):
    mean = [sum(v) / len(v) for v in zip(*values)]
    half = [(max(v) - min(v)) / 2 for v in zip(*values)]
    print(f"| {t} | {name} | {mean[0]:.4f} ± {half[0]:.4f} | {mean[1]:.4f} ± {half[1]:.4f} | {100 * mean[2]:.2f} % | {100 * mean[3]:.2f} % | {mean[4]:.3f} |")
print("\nmeans over 3 seeds; ± is half the spread")
PY
