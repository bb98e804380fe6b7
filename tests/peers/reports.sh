#!/usr/bin/env bash
# What temper writes to be looked at, by the programs that people look with: event files read by TensorBoard, pages opened in headless
# Chromium. Makes two tiny runs. run.sh calls it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/peers/python.sh
peers_tensorboard_python
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
temper=build/release/temper

quiet() { "$@" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }; }
shape="layers 1 width 32 heads 4 positions 32"
model() { for word in $shape; do case $word in [a-z]*) printf -- '--%s.%s ' "$1" "$word" ;; *) printf '%s ' "$word" ;; esac; done; }
common="--train.batch 8 --train.seq 32 --train.warmup 5 --evaluate.max-tokens 1024 --log.tensorboard true"
quiet mpirun --oversubscribe --bind-to none -n 3 "$temper" distill --run.dir "$work/distilled" --launch.teachers 1 $(model teacher) \
  $(model student) --teacher.train-steps 50 --train.steps 60 --compare.hard-labels true --run.threads 1 $common
quiet "$temper" train --run.dir "$work/a-name-that-is-long-enough-to-need-more-than-one-line-on-a-telephone" $(model model) \
  --train.steps 60 $common

echo "[peers] event files, read by TensorBoard"
"$tensorboard_python" tests/peers/compare_tensorboard.py "$work"/distilled "$work"/a-name*
quiet "$temper" report --report.file "$work/comparison.html" "$work"/distilled "$work"/a-name*
bash tests/peers/report_page.sh "$work/distilled/report.html" "$work/comparison.html"
