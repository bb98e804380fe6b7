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

# Prints the seconds of a step of each role: teacher, student.
cat >"$scratch/roles.py" <<'E2'
import json, sys
plan = json.load(open(sys.argv[1]))
rates = plan["rates"][sys.argv[2]]
print(1024 / rates["teacher_tokens_per_s"], 1024 / rates["student_tokens_per_s"] + plan["cluster"]["update_seconds"])
E2
roles() { python3 "$scratch/roles.py" "$1" "$payload"; }

# The teacher's time is a straight line over the width of its feed-forward layers: two points, then secant steps.
ffn=512 width_before="" apart_before=""
for attempt in 1 2 3 4 5 6; do
  plan "$scratch/plan.json" "$ffn" "$probe"
  read -r teacher student <<<"$(roles "$scratch/plan.json")"
  echo "teacher's feed-forward width $ffn: teacher $(awk "BEGIN { printf \"%.1f\", 1e3 * $teacher }") ms a step, student $(awk "BEGIN { printf \"%.1f\", 1e3 * $student }") ms" >&2
  if awk "BEGIN { d = $teacher / $student - 1; exit !(d < 0.03 && d > -0.03) }"; then break; fi
  apart="$(awk "BEGIN { print $teacher - $student }")"
  if [ -z "$width_before" ]; then
    next="$(awk "BEGIN { print $apart < 0 ? 2 * $ffn : $ffn / 2 }")"
  else
    next="$(awk "BEGIN { slope = ($apart - $apart_before) / ($ffn - $width_before); if (slope <= 0) slope = $teacher / $ffn
                         w = int(($ffn - $apart / slope) / 8 + 0.5) * 8; if (w < 64) w = 64; if (w > 16384) w = 16384; print w }")"
  fi
  width_before="$ffn" apart_before="$apart"
  if [ "$next" -eq "$ffn" ]; then break; fi
  ffn="$next"
done

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
        row["bytes"] = sum(l["bytes_per_token"] * l["tokens"] for l in lines) / (TOKENS * len(lines))
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
