#!/usr/bin/env bash
# One table: students distilled under mpirun, one teacher rank and two students, on the corpus's rows alone (the ordinary run), on their own
# (on-policy, share of the steps 0, 0.5, 1) and on rows mixed with their draws (scheduled sampling): of the test part NLL and KL to the
# teacher; of what each writes by itself at T = 1 and greedily the teacher's NLL, and how many of its 4-grams repeat. A share of 0 must be the
# ordinary run, bit for bit: losses of every step, and the student's weights.
#   tests/bench/free_running.sh TEXT [FOLDER]       STEPS=N (150)   ROWS=N written at each temperature (64)   finished runs are kept
source "$(dirname "${BASH_SOURCE[0]}")/payload_models.sh"
out="$work/free-running"
made_of "$out" "$the_text, STEPS=${STEPS:-150} and ROWS=${ROWS:-64}"
mkdir -p "$out"

one() {  # NAME OPTIONS...
  local run="$out/$1"
  if [ -f "$run/writes-0.json" ]; then return; fi
  # shellcheck disable=SC2086
  OMP_NUM_THREADS=1 mpirun --oversubscribe --bind-to none -n 3 "$temper" distill --run.dir "$run" --run.overwrite true --run.threads 1 \
    --run.precision bf16 --data.source text --data.text "$text" --data.tokenizer "$teacher" --launch.teachers 1 --teacher.path "$teacher" \
    --teacher.temperature 1 --teacher.payload hidden $student_shape --loss.alpha 0.9 --train.steps "${STEPS:-150}" --train.batch 8 \
    --train.seq 128 --train.lr 3e-3 --evaluate.max-tokens 16384 "${@:2}" >"$run.txt" 2>&1
  local temperature
  for temperature in 1 0; do
    "$temper" evaluate --json --model.path "$run/student" --evaluate.teacher "$teacher" --data.source text --data.text "$text" \
      --evaluate.max-tokens 16384 --evaluate.writes "${ROWS:-64}" --evaluate.writing-temperature "$temperature" \
      >"$run/writes.part" 2>>"$run.txt"
    mv "$run/writes.part" "$run/writes-$temperature.json"
  done
  echo "[bench] $1" >&2
}
one ordinary
one on-policy-0 --train.on-policy 0
one on-policy-0.5 --train.on-policy 0.5
one on-policy-1 --train.on-policy 1
one scheduled-sampling-0 --train.scheduled-sampling 0
one scheduled-sampling-0.5 --train.scheduled-sampling 0.5

python3 - "$out" <<'PY'
import json, sys
read = lambda *path: open("/".join((sys.argv[1],) + path), "rb").read()
losses = lambda run: [[json.loads(line)[key] for key in ("step", "loss", "kl", "ce", "grad_norm", "lr")]
                      for line in read(run, "metrics.jsonl").splitlines()]
names = ["ordinary", "on-policy-0", "on-policy-0.5", "on-policy-1", "scheduled-sampling-0", "scheduled-sampling-0.5"]
percent = lambda share: f"{100 * share:.1f} %"
print("| rows | NLL | KL to the teacher | teacher's NLL of its text at T = 1, greedy | repeated 4-grams at T = 1, greedy |")
print("| --- | ---: | ---: | ---: | ---: |")
for name in names:
    drawn, greedy = (json.loads(read(name, f"writes-{t}.json")) for t in "10")
    print(f"| {name} | {drawn['nll']:.4f} | {drawn['kl_to_teacher']:.4f} | {drawn['writing']['teacher_nll']:.3f}, "
          f"{greedy['writing']['teacher_nll']:.3f} | {percent(drawn['writing']['repeated_4grams'])}, "
          f"{percent(greedy['writing']['repeated_4grams'])} |")
corpus = drawn["writing"]
print(f"\nthe teacher's NLL of the corpus's own text at these places: {corpus['teacher_corpus_nll']:.3f}")
missed = [name for name in names if name.endswith("-0")
          and (losses(name) != losses("ordinary") or read(name, "student", "model.safetensors") != read("ordinary", "student", "model.safetensors"))]
for name in names:
    if name.endswith("-0"):
        print(f"{name} is the ordinary run bit for bit: " + ("NO" if name in missed else f"yes ({len(losses(name))} steps, and the weights)"))
sys.exit(1 if missed else 0)
PY
