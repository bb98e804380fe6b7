#!/usr/bin/env bash
# Damaged safetensors files: temper may refuse more than the package `safetensors` does, and never opens what that refuses.
# Needs the release build; takes libFuzzer's corpora in, where tests/fuzz/run.sh has left some.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/peers/python.sh
peers_python
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
corpora=()
for name in safetensors safetensors_header weights; do
  if [ -d "build/fuzz/corpus/$name" ]; then corpora+=("build/fuzz/corpus/$name"); fi
done
echo "[peers] damaged safetensors files, against the package safetensors"
"$python" tests/peers/compare_safetensors.py build/release/tests/model/safetensors_verdicts "$work" ${corpora[@]+"${corpora[@]}"}
