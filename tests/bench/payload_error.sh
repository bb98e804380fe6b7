#!/usr/bin/env bash
# One table: for every payload and value type, bytes per token as they came over MPI (1 teacher, 1 student rank), and how far the
# student's gradient is from that of exact fp32 logits, at T = 1 and 4, on a trained teacher and student with 8,192 ids; then
# whether the sampled gradient's mean over 4,096 seeds is the exact one.
#   tests/bench/payload_error.sh TEXT [FOLDER]
source "$(dirname "${BASH_SOURCE[0]}")/payload_models.sh"

# bytes_of PAYLOAD TYPE [OPTION...]: bytes per token that the student received in three steps of a real run.
bytes_of() {
  local payload="$1" type="$2"
  shift 2
  mpirun --oversubscribe --bind-to none -n 2 "$temper" distill --run.dir "$work/wire" --run.overwrite true --launch.teachers 1 \
    --teacher.transport messages --data.source text --data.text "$text" --data.tokenizer "$teacher" --teacher.path "$teacher" --student.init "$work/base/student" \
    --teacher.payload "$payload" --teacher.values "$type" --train.steps 3 --train.batch 8 --train.seq 128 \
    --evaluate.max-tokens 128 "$@" >"$work/wire.txt" 2>&1 || { cat "$work/wire.txt" >&2; exit 1; }
  tail -n 1 "$work/wire/metrics.jsonl" >"$work/wire.json"
  field "$work/wire.json" bytes_per_token
}

echo "[bench] gradients" >&2
build/release/tests/bench/payload_error "$teacher" "$work/base/student" "$text" "${SEEDS:-4096}" >"$work/error.txt"
echo "[bench] bytes on the wire" >&2
: >"$work/bytes.txt"
for type in fp32 bf16 fp16 int8; do
  echo "full $type $(bytes_of full "$type")" >>"$work/bytes.txt"
  echo "hidden $type $(bytes_of hidden "$type")" >>"$work/bytes.txt"
done
for type in fp32 int8; do
  bytes="$(bytes_of topk "$type" --teacher.topk 64)"
  echo "topk-64-bucket $type $bytes" >>"$work/bytes.txt"
  echo "topk-64-renormalise $type $bytes" >>"$work/bytes.txt"
done
for draws in 12 64; do
  echo "sample-$draws - $(bytes_of sample auto --teacher.draws $draws)" >>"$work/bytes.txt"
done

python3 - "$work/error.txt" "$work/bytes.txt" <<'PY'
import sys
size = {tuple(l.split()[:2]): float(l.split()[2]) for l in open(sys.argv[2])}
rows, means = {}, []
for line in open(sys.argv[1]):
    kind, t, *rest = line.split()
    if kind == "error":
        rows.setdefault((rest[0], rest[1]), {})[t] = rest[2:]
    else:
        means.append((t, rest))
print("| payload | values | bytes per token | cosine, T = 1 | relative error | cosine, T = 4 | relative error | loss, T = 1 |")
print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
for key, at in rows.items():
    one, four = at["1"], at["4"]
    print(f"| {key[0]} | {key[1]} | {size[key]:,.1f} | {one[0]} | {float(one[1]):.1e} | {four[0]} | {float(four[1]):.1e} | {float(one[2]):.1e} |")
full, hidden = size[("full", "bf16")], size[("hidden", "bf16")]
print(f"\nhidden: {full / hidden:.1f} times fewer bytes than full (bf16)")
for t, (deviation, far, bias) in means:
    print(f"sample-12 at T = {t}, mean over the seeds: {float(deviation):.2f} standard errors from the exact gradient (norms), "
          f"{far} % of the weights beyond 3 (0.27 % by chance), relative {bias}")
PY
