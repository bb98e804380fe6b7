#!/usr/bin/env bash
# The stream over a slow link, and what temper plan had said of it: tests/bench/link.sh [RATE] (1gbit)
#
# A teacher on one test host and a student on another (tests/hosts), each pinned to a core of its own, joined by a link of
# 1 Gbit/s in each direction. Vocabulary 32,000, that of Llama 2; random weights, since speed does not depend on them:
#   teacher   4 layers x 256, 4 heads (11M weights); student 2 layers x 128, 4 heads (4.5M weights)
#   a step    8 rows of 64 tokens, in micro-batches of 2 rows: messages of 128 tokens
#   fp32, which is the default: full takes 128,000 bytes a token, hidden 1,024, topk (64) 380, sample (12 draws) 27
# One core learns somewhat more than a thousand tokens of that vocabulary a second, a link of 1 Gbit/s carries 918 of full: small models,
# so that one core is to one link about what a GPU is to a network card.
# The planner predicts from its own probe, made on the same two hosts just before each round of runs, with --plan.link-gbit; the
# link's goodput is 0.94 of it (launch/plan_rates.h). Rates are all tokens of a step over the median duration of a step after
# warm-up, medians over the rounds. Targets: hidden and sample not bound by the network, full is, predictions within 15%.
#
#   TEMPER=FILE   the program (build/release/temper)    ROUNDS=N (3)   STEPS=N a run (30)   PROBE=N steps (20)
#   PAYLOADS="full hidden topk sample"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/hosts/hosts.sh
if ! hosts_check; then exit 77; fi
temper="${TEMPER:-$PWD/build/release/temper}"
rate="${1:-1gbit}"
rounds="${ROUNDS:-3}" steps="${STEPS:-30}" probe="${PROBE:-20}"
read -r -a payloads <<<"${PAYLOADS:-full hidden topk sample}"
case "$rate" in
  *gbit) gbit="${rate%gbit}" ;;
  *mbit) gbit="$(awk "BEGIN { print ${rate%mbit} / 1000 }")" ;;
  *) echo "link.sh: the rate is '$rate': give it as tc does, 1gbit or 500mbit" >&2; exit 2 ;;
esac
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
scratch="$(mktemp -d)"
hosts_up 2 "$rate"
trap 'hosts_down; rm -rf "$scratch"' EXIT

job=(--data.vocab 32000 --teacher.layers 4 --teacher.width 256 --teacher.heads 4 --student.layers 2 --student.width 128
  --student.heads 4 --train.batch 8 --train.micro-batch 2 --train.seq 64 --train.steps "$steps" --train.warmup 5
  --teacher.lookahead 3 --launch.teachers 1 --run.threads 1 --evaluate.max-tokens 128)
pinned() {  # world rank n on core n
  hosts_mpirun 1:1,2:1 sh -c 'exec taskset -c "$OMPI_COMM_WORLD_RANK" "$0" "$@"' "$temper" "$@"
}

for round in $(seq "$rounds"); do
  echo "round $round of $rounds" >&2
  pinned plan "${job[@]}" --plan.probe-steps "$probe" --plan.link-gbit "$gbit" --plan.payloads "$(IFS=,; echo "${payloads[*]}")" \
    --json >"$scratch/plan-$round.json" 2>"$scratch/log" || { cat "$scratch/log" >&2; exit 1; }
  for payload in "${payloads[@]}"; do
    pinned distill "${job[@]}" --teacher.payload "$payload" --run.dir "$scratch/$payload-$round" >"$scratch/log" 2>&1 ||
      { cat "$scratch/log" >&2; exit 1; }
  done
done

python3 - "$scratch" "$rounds" "$rate" "${payloads[@]}" <<'E2'
import json, statistics, sys

scratch, rounds, rate, payloads = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]
TOKENS, SKIP = 8 * 64, 5
plans = [json.load(open(f"{scratch}/plan-{r}.json")) for r in range(1, rounds + 1)]
print(f"link {rate}; a TCP connection moved {statistics.median(p['cluster']['link_measured_bytes_per_s'] for p in plans) * 8e-9:.3f} "
      f"Gbit/s of messages, planned with {plans[0]['cluster']['link_bytes_per_s'] * 8e-9:.2f}")
print(f"{'payload':8} {'bytes/token':>11} {'tokens/s':>9} {'predicted':>9} {'ratio':>6} {'teacher can':>11} {'student can':>11} "
      f"{'waits T / S':>12}  bound by (predicted)")
good = True
for payload in payloads:
    measured, predicted, waits_t, waits_s, size = [], [], [], [], 0
    for r, plan in enumerate(plans, 1):
        lines = [json.loads(line) for line in open(f"{scratch}/{payload}-{r}/metrics.jsonl")][SKIP:]
        middle = lambda key: statistics.median(line[key] for line in lines)
        measured.append(TOKENS / middle("step_seconds"))
        waits_t.append(middle("wait_student"))
        waits_s.append(middle("wait_teacher"))
        size = statistics.mean(l["bytes_per_token"] for l in lines)
        predicted.append(next(p for p in plan["predictions"]
                              if p["payload"] == payload and p["teachers"] == 1 and p["lookahead"] == 3))
    ratio = statistics.median(m / p["tokens_per_s"] for m, p in zip(measured, predicted))
    last = predicted[-1]
    ok = abs(ratio - 1) <= 0.15 and (last["bound_by"] == "network") == (payload == "full")
    good = good and ok
    print(f"{payload:8} {size:11.0f} {statistics.median(measured):9.0f} {statistics.median(p['tokens_per_s'] for p in predicted):9.0f} "
          f"{ratio:6.2f} {last['teachers_tokens_per_s']:11.0f} {last['students_tokens_per_s']:11.0f} "
          f"{100 * statistics.median(waits_t):4.0f}% / {100 * statistics.median(waits_s):.0f}%  {last['bound_by']:>10}"
          f"{'' if ok else '   <- off target'}")
sys.exit(0 if good else 1)
E2
