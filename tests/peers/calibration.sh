#!/usr/bin/env bash
# Metrics of `temper evaluate` and the fit of `temper calibrate` against scikit-learn, netcal and SciPy on the same logits. run.sh calls it.
#
# A small model is trained on this repository's sources, then its head is scaled up, so that it is too sure of itself and all bins are filled.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/peers/python.sh
peers_metrics_python
temper=build/release/temper
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

cat README.md data/*.cpp launch/*.cpp model/*.cpp >"$work/text.txt"
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }; }
data=(--data.source text --data.text "$work/text.txt" --data.fit-share 0.1 --data.test-share 0.1 --train.seq 64)
quietly "$temper" train --run.dir "$work/run" "${data[@]}" --data.tokenizer bytes --model.layers 1 --model.width 64 --model.heads 4 --train.steps 150 \
  --train.batch 16 --train.lr 3e-3 --evaluate.max-tokens 1024
"$metrics_python" - "$work/run/model/model.safetensors" <<'E2'
import sys
from safetensors.torch import load_file, save_file
weights = load_file(sys.argv[1])
weights["model.norm.weight"] *= 1.7  # all logits
save_file(weights, sys.argv[1], metadata={"format": "pt"})
E2
# All tokens in one micro-batch, so that the dump is what is measured; 240 x 64 is a multiple of 15.
model=("${data[@]}" --model.path "$work/run/model" --evaluate.max-tokens 15360 --evaluate.micro-batch 240)
quietly "$temper" evaluate "${model[@]}" --evaluate.part fit --dump-logits "$work/fit.safetensors"
"$temper" evaluate "${model[@]}" --evaluate.temperature 1.4 --dump-logits "$work/test.safetensors" --json >"$work/evaluate.json"
"$temper" calibrate "${model[@]}" --json >"$work/calibrate.json"
"$metrics_python" tests/peers/calibration.py "$work"
