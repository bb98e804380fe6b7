#!/usr/bin/env bash
# What does saving in the background cost? tests/bench/checkpoint.sh [ROUNDS] (5)
#
# Trains a model of 6.4M weights for 200 steps without checkpoints and with one every 50 steps, in turn, and compares the seconds of
# the stage, the wait for the last checkpoint included. Target: at most 3 % more, as the median over the rounds. A checkpoint has
# weights and both moments, 77 MB; RUN=DIR puts the run folders on the disk that is to be measured.
#
#   TEMPER=FILE   the program (build/release/temper)   RANKS=N   under mpirun (1)   STEPS=N (200)   OPTIONS="--more options"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
temper="${TEMPER:-$PWD/build/release/temper}"
rounds="${1:-5}" ranks="${RANKS:-1}" steps="${STEPS:-200}"
read -r -a more <<<"${OPTIONS:-}"
if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
scratch="$(mktemp -d ${RUN:+-p "$RUN"})"
trap 'rm -rf "$scratch"' EXIT
start=("$temper")
if [ "$ranks" -gt 1 ]; then start=(mpirun --oversubscribe --bind-to none -n "$ranks" "$temper"); fi

cat >"$scratch/base.ini" <<INI
[run]
precision = bf16
[data]
vocab = 8192
[model]
layers = 4
width = 256
heads = 4
[train]
batch = 8
seq = 128
log-every = 1000
[evaluate]
max-tokens = 128
INI

run() {  # NAME CHECKPOINT-EVERY: appends the stage's seconds to the file NAME
  rm -rf "$scratch/run"
  "${start[@]}" train --config "$scratch/base.ini" --run.dir "$scratch/run" --train.steps "$steps" \
    --train.checkpoint-every "$2" ${more[@]+"${more[@]}"} >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; exit 1; }
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["seconds"])' "$scratch/run/summary.json" >>"$scratch/$1"
}
# Of the last run with checkpoints: the share of its time in which steps waited for the first ones.
waits() {
  python3 -c 'import json, sys; t = json.load(open(sys.argv[1]))["totals"]; print(t["checkpoint_seconds"] / t["seconds"])' \
    "$scratch/run/checkpoints/latest/manifest.json" >>"$scratch/waits"
}
for ((round = 0; round < rounds; ++round)); do
  if ((round % 2)); then run with 50; waits; run without 0; else run without 0; run with 50; waits; fi
done

python3 - "$scratch/without" "$scratch/with" "$steps" "$scratch/waits" <<'PY'
import statistics, sys
without, saving = ([float(line) for line in open(path)] for path in sys.argv[1:3])
waits = statistics.median(float(line) for line in open(sys.argv[4]))
costs = [100 * (b / a - 1) for a, b in zip(without, saving)]
cost = statistics.median(costs)
good = cost <= 3
print(f"{len(costs)} rounds of {sys.argv[3]} steps: {statistics.median(without):.1f} s without checkpoints, "
      f"{statistics.median(saving):.1f} s with one every 50 steps; cost {cost:+.1f} % "
      f"({min(costs):+.1f} to {max(costs):+.1f}), {100 * waits:.2f} % of it waiting in steps   target <= 3 %{'' if good else '   <- missed'}")
sys.exit(0 if good else 1)
PY
