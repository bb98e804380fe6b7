#!/usr/bin/env bash
# Compares temper with Hugging Face transformers: golden folders made anew, students opened; and what it writes with TensorBoard and
# Chromium. Needs PyPI for the first run; the Python packages
# are kept in the user's cache. With two arguments, FOLDER and LOGITS.safetensors, it only compares these.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/peers/python.sh
peers_python

if [ $# -eq 2 ]; then
  exec "$python" tests/peers/student_logits.py "$1" "$2"
fi

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
echo "[peers] golden folders, made anew, against those in tests/model/golden"
"$python" tests/peers/make_golden.py "$work/golden"
"$python" tests/peers/compare_golden.py "$work/golden" tests/model/golden

echo "[peers] decoding, made anew, against that in tests/model/golden_generation"
"$python" tests/peers/make_generation.py tests/model/golden "$work/golden_generation"
"$python" tests/peers/compare_generation.py "$work/golden_generation" tests/model/golden_generation
bash tests/peers/tokenizers.sh "$python"
bash tests/peers/safetensors.sh

echo "[peers] losses by PyTorch and TRL, made anew, against those in tests/student/golden_losses.safetensors"
peers_losses_python
"$losses_python" tests/peers/make_losses.py "$work/losses.safetensors"
"$losses_python" - "$work/losses.safetensors" tests/student/golden_losses.safetensors <<'PYTHON'
import sys
from safetensors.torch import load_file
new, kept = (load_file(path) for path in sys.argv[1:])
assert new.keys() == kept.keys(), "other cases: run make_losses.py"
worst = max(((new[name] - kept[name]).abs().max() / kept[name].abs().max().clamp(min=1)).item() for name in new)
print(f"{len(new)} tensors, at most {worst:.1e} apart")
sys.exit(0 if worst <= 1e-12 else 1)
PYTHON
echo "[peers] metrics and the fitted temperature, against scikit-learn, netcal and SciPy"
bash tests/peers/calibration.sh

echo "[peers] students written by temper, opened by transformers"
temper=build/release/temper
for family in gpt2 llama mistral qwen2 qwen3; do
  "$temper" train --run.dir "$work/$family" --model.family $family --model.layers 2 --model.width 64 --model.heads 4 \
    --model.kv-heads "$([ $family = gpt2 ] && echo 4 || echo 2)" --model.positions 64 --train.steps 20 --train.batch 4 --train.seq 48 \
    --evaluate.max-tokens 1024 >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  "$temper" evaluate --model.path "$work/$family/model" --train.seq 48 --evaluate.max-tokens 1024 \
    --dump-logits "$work/$family.safetensors" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  "$python" tests/peers/student_logits.py "$work/$family/model" "$work/$family.safetensors"
done
bash tests/peers/reports.sh
echo "[peers] passed"
