#!/usr/bin/env bash
# Does a long run grow? tests/bench/steady_memory.sh [STEPS] (2000)
#
# Distils a small student of 8,192 ids for that many steps, reads the resident memory of the process ten times a second, and fits
# a straight line to it over the steps after the first tenth. Target: what the line says for the whole run is within the noise,
# three times the scatter around it or 1 MiB.
#
#   TEMPER=FILE   the program (build/release/temper)   OPTIONS="--more options"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
temper="${TEMPER:-$PWD/build/release/temper}"
steps="${1:-2000}"
read -r -a more <<<"${OPTIONS:-}"
if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
scratch="$(mktemp -d)"
job=
trap 'if [ -n "$job" ]; then kill -KILL "$job" || true; fi; rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

"$temper" distill --run.dir "$scratch/run" --launch.teachers 0 --run.precision bf16 --data.vocab 8192 --teacher.payload hidden \
  --teacher.layers 2 --teacher.width 64 --student.layers 2 --student.width 32 --student.heads 2 --train.batch 4 --train.micro-batch 2 \
  --train.seq 32 --train.steps "$steps" --evaluate.max-tokens 256 ${more[@]+"${more[@]}"} >"$scratch/log" 2>&1 &
job=$!
while kill -0 "$job" 2>/dev/null; do
  resident="$(awk '/^VmRSS/ { print $2 }' "/proc/$job/status" 2>/dev/null || true)"
  step="$(wc -l 2>/dev/null <"$scratch/run/metrics.jsonl" || true)"
  if [ -n "$resident" ] && [ -n "$step" ]; then echo "$step $resident" >>"$scratch/memory"; fi
  sleep 0.1
done
wait "$job" || { job=; cat "$scratch/log" >&2; exit 1; }
job=

python3 - "$scratch/memory" "$steps" <<'PY'
import statistics, sys
steps = int(sys.argv[2])
points = [tuple(map(int, line.split())) for line in open(sys.argv[1]) if len(line.split()) == 2]
points = [(s, kib / 1024) for s, kib in points if steps / 10 <= s < steps]  # evaluation comes after the last step
if len(points) < 20:
    sys.exit(f"only {len(points)} readings between step {steps // 10} and {steps}: give more steps")
mean_s = statistics.mean(s for s, _ in points)
mean_m = statistics.mean(m for _, m in points)
slope = sum((s - mean_s) * (m - mean_m) for s, m in points) / sum((s - mean_s) ** 2 for s, _ in points)
scatter = statistics.pstdev(m - mean_m - slope * (s - mean_s) for s, m in points)
growth, allowed = slope * steps, max(1.0, 3 * scatter)
good = growth <= allowed
print(f"{len(points)} readings over {steps} steps: {mean_m:.1f} MiB resident, {growth:+.2f} MiB over the run (scatter {scatter:.2f} MiB)   "
      f"target <= {allowed:.2f} MiB{'' if good else '   <- missed'}")
sys.exit(0 if good else 1)
PY
