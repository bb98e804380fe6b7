#!/usr/bin/env bash
# Do teacher, transfer and student overlap? tests/bench/overlap.sh
#
# One teacher and one student, each bound to one core, made equally slow: the width of the teacher's feed-forward layers is found by
# probes (temper plan) so that both roles' rates agree within 3%. Then, in rounds, so that a change of the machine's
# speed hits all alike: the rate of either role alone, both working at the same time with nothing travelling (temper plan's probe
# under mpirun), the stream, and the same job in lock-step (lookahead 0). Vocabulary 8,192, 2 rows of 128 tokens a micro-batch,
# 4 micro-batches a step, random weights, fp32.
# Targets: stream >= 0.95 of the slower role alone, >= 1.6 of lock-step, the student waits <= 3% of the time.
#
#   TEMPER=FILE    the program (build/release/temper)   PAYLOAD=full|hidden|topk|sample (full)   LOOKAHEAD=N (3)
#   ROUNDS=N (5)   STEPS=N a run (30)                   PROBE=N steps of a probe (20)            OPTIONS="--more options"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
temper="${TEMPER:-$PWD/build/release/temper}"
payload="${PAYLOAD:-full}" lookahead="${LOOKAHEAD:-3}" rounds="${ROUNDS:-5}" steps="${STEPS:-30}" probe="${PROBE:-20}"
read -r -a more <<<"${OPTIONS:-}"
if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

job=(--data.vocab 8192 --teacher.layers 4 --teacher.width 320 --teacher.heads 5 --student.layers 2 --student.width 256
  --student.heads 4 --train.batch 8 --train.micro-batch 2 --train.seq 128 --train.steps "$steps" --train.warmup 5
  --teacher.payload "$payload" --launch.teachers 1 --run.threads 1 --evaluate.max-tokens 128 ${more[@]+"${more[@]}"})
run() { mpirun -n 2 --map-by core --bind-to core "$temper" "$@"; }
plan() {  # FILE FFN-WIDTH STEPS
  run plan "${job[@]}" --teacher.ffn-width "$2" --teacher.lookahead "$lookahead" --plan.payloads "$payload" \
    --plan.probe-steps "$3" --json >"$1" 2>"$scratch/log" || { cat "$scratch/log" >&2; exit 1; }
}

# Prints a probe's seconds of a step, teacher and student; then, of all probes so far, how far apart the last one's roles are
# and the width to try next. The teacher's time is a straight line over the width, the student's is constant.
cat >"$scratch/next.py" <<'E2'
import json, sys
payload, points = sys.argv[1], []
for path in sys.argv[2:]:
    plan = json.load(open(path))
    rates = plan["rates"][payload]
    points.append((int(path.rsplit("-", 1)[1]), 1024 / rates["teacher_tokens_per_s"],
                   1024 / rates["student_tokens_per_s"] + plan["cluster"]["update_seconds"]))
width, teacher, student = points[-1]
if len({p[0] for p in points}) == 1:
    following = width * 2 if teacher < student else width / 2
else:
    n = len(points)
    mean = [sum(p[i] for p in points) / n for i in range(3)]
    slope = sum((p[0] - mean[0]) * (p[1] - mean[1]) for p in points) / sum((p[0] - mean[0]) ** 2 for p in points)
    slope = max(slope, 0.2 * mean[1] / mean[0])
    following = mean[0] + (mean[2] - mean[1]) / slope
following = min(max(following, width / 2, 64), width * 2, 16384)
print(f"{teacher:.6f} {student:.6f} {abs(teacher / student - 1):.6f} {8 * round(following / 8)}")
E2

probes=() best="" ffn=512
for attempt in 1 2 3 4 5 6; do
  file="$scratch/probe-$attempt-$ffn"
  plan "$file" "$ffn" "$probe"
  probes+=("$file")
  read -r teacher student apart next <<<"$(python3 "$scratch/next.py" "$payload" "${probes[@]}")"
  echo "teacher's feed-forward width $ffn: a step is $teacher s of the teacher, $student s of the student" >&2
  if [ -z "$best" ] || awk "BEGIN { exit !($apart < $least) }"; then best="$ffn" least="$apart"; fi
  if awk "BEGIN { exit !($least < 0.03) }" || [ "$next" -eq "$ffn" ]; then break; fi
  ffn="$next"
done
ffn="$best"

for round in $(seq "$rounds"); do
  echo "round $round of $rounds" >&2
  plan "$scratch/plan-$round.json" "$ffn" "$probe"
  for kind in stream lock; do
    if [ "$kind" = stream ]; then depth="$lookahead"; else depth=0; fi
    run distill "${job[@]}" --teacher.ffn-width "$ffn" --teacher.lookahead "$depth" --run.dir "$scratch/$kind-$round" \
      >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; exit 1; }
  done
done

python3 - "$scratch" "$rounds" "$payload" "$lookahead" <<'E2'
import json, statistics, sys

scratch, rounds, payload, lookahead = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
TOKENS, SKIP = 8 * 128, 5
rows = []
for r in range(1, rounds + 1):
    plan = json.load(open(f"{scratch}/plan-{r}.json"))
    rates = plan["rates"][payload]
    row = {"teacher": rates["teacher_tokens_per_s"],
           "student": TOKENS / (TOKENS / rates["student_tokens_per_s"] + plan["cluster"]["update_seconds"]),
           "predicted": next(p["tokens_per_s"] for p in plan["predictions"]
                             if p["teachers"] == 1 and p["lookahead"] == lookahead)}
    for kind in ("stream", "lock"):
        lines = [json.loads(line) for line in open(f"{scratch}/{kind}-{r}/metrics.jsonl")][SKIP:]
        row[kind] = TOKENS / statistics.median(line["step_seconds"] for line in lines)
        row[kind + " wait"] = sum(l["wait_teacher"] * l["step_seconds"] for l in lines) / sum(l["step_seconds"] for l in lines)
        row["bytes"] = statistics.mean(l["bytes_per_token"] for l in lines)
    row["of slower"] = row["stream"] / min(row["teacher"], row["student"])
    row["of lock-step"] = row["stream"] / row["lock"]
    rows.append(row)
middle = lambda key: statistics.median(row[key] for row in rows)
print(f"payload {payload}, {middle('bytes'):.0f} bytes a token, lookahead {lookahead}; medians of {rounds} rounds, tokens/s")
print(f"  teacher alone, student at work beside it   {middle('teacher'):9.0f}")
print(f"  student alone, teacher at work beside it   {middle('student'):9.0f}")
print(f"  the stream                                 {middle('stream'):9.0f}   (the planner said {middle('predicted'):.0f})")
print(f"  lock-step                                  {middle('lock'):9.0f}")
good = True
for name, value, target, ok in (("stream / slower of both", middle("of slower"), ">= 0.95", middle("of slower") >= 0.95),
                                ("stream / lock-step", middle("of lock-step"), ">= 1.60", middle("of lock-step") >= 1.6),
                                ("student's waiting share", middle("stream wait"), "<= 0.03", middle("stream wait") <= 0.03)):
    good = good and ok
    print(f"  {name:42} {value:9.3f}   target {target}{'' if ok else '   <- missed'}")
sys.exit(0 if good else 1)
E2
