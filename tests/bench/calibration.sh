#!/usr/bin/env bash
# How long does a temperature take to fit, the held-out logits given? tests/bench/calibration.sh
#
# temper's Newton iteration over chunks (calibration_bench, which calls the code of temper calibrate) against the usual recipe of temperature
# scaling in PyTorch (Guo et al. 2017): L-BFGS over all logits at once, at the recipe's learning rate of 0.01 and at 1. In turn, two
# threads. Logits: 512 tokens x 50,257, normal, labels drawn at T = 2. The best T is found first, by Newton in float64; time is until
# |T - best| <= 1e-4, which the peers are told of, while temper stops by itself. L-BFGS at 0.01 takes a thousand passes, so it runs once.
# Targets: 20 and 3 times faster; and memory of a chunk: that beyond the logits does not grow when there are four times as many of them.
#
#   BENCH=FILE   (build/release/tests/bench/calibration_bench)   ROUNDS=N (5)   TOKENS=N (512)   VOCAB=N (50257)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/peers/python.sh
bench="${BENCH:-$PWD/build/release/tests/bench/calibration_bench}" rounds="${ROUNDS:-5}" tokens="${TOKENS:-512}" vocab="${VOCAB:-50257}"
if [ ! -x "$bench" ]; then
  echo "calibration.sh: $bench is not there: cmake --build --preset release --target calibration_bench" >&2
  exit 2
fi
peers_python
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

logits="$scratch/logits.safetensors"
peer() { "$python" tests/bench/pytorch_calibration.py "$@"; }
best="$(peer make "$logits" "$tokens" "$vocab" | python3 -c 'import json, sys; print(json.load(sys.stdin)["best"])')"
for round in $(seq "$rounds"); do
  echo "round $round of $rounds" >&2
  "$bench" "$logits" >"$scratch/temper-$round.json"
  "$bench" "$logits" "$((tokens / 4))" >"$scratch/quarter-$round.json"
  peer fit "$logits" 1 "$best" >"$scratch/fast-$round.json"
  if [ "$round" -eq 1 ]; then peer fit "$logits" 0.01 "$best" >"$scratch/slow-$round.json"; fi
done

python3 - "$scratch" "$rounds" "$best" "$tokens" "$vocab" <<'E2'
import json, statistics, sys
from pathlib import Path

scratch, rounds, best, tokens, vocab = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
runs = {name: [json.loads(path.read_text()) for path in sorted(scratch.glob(f"{name}-*.json"), key=lambda p: int(p.stem.split("-")[1]))]
        for name in ("temper", "quarter", "fast", "slow")}
print(f"{tokens} tokens x {vocab}, {tokens * vocab / 2**18:.0f} MiB of logits; best T {best:.6f}; medians of {rounds} rounds")
print(f"  {'':36} {'seconds':>8} {'passes':>6} {'T - best':>9} {'MiB beyond the logits':>22}")
middle = lambda name, field: statistics.median(run[field] for run in runs[name])
for name, text in (("temper", "temper"), ("fast", "L-BFGS, learning rate 1"), ("slow", "L-BFGS, learning rate 0.01 (once)")):
    print(f"  {text:36} {middle(name, 'seconds'):8.2f} {middle(name, 'passes'):6.0f} {middle(name, 'temperature') - best:9.0e} {middle(name, 'extra_mib'):22.0f}")
times = lambda name: statistics.median(peer["seconds"] / ours["seconds"] for peer, ours in zip(runs[name], runs["temper"]))
error = max(abs(run["temperature"] - best) for run in runs["temper"])
grows = middle("temper", "extra_mib") / max(1.0, middle("quarter", "extra_mib"))
good = True
for text, value, aim, ok in (("faster than learning rate 0.01, times", times("slow"), ">= 20", times("slow") >= 20),
                             ("faster than learning rate 1, times", times("fast"), ">= 3", times("fast") >= 3),
                             ("temper's |T - best|", error, "<= 1e-4", error <= 1e-4),
                             ("memory, all logits / a quarter of them", grows, "<= 1.25", grows <= 1.25)):
    good = good and ok
    print(f"  {text:42} {value:9.3g}   target {aim}{'' if ok else '   <- missed'}")
sys.exit(0 if good else 1)
E2
