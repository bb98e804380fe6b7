#!/usr/bin/env bash
# Gradients of two ranks on one node, summed in shared memory, against MPI_Allreduce as Open MPI comes, against the best of what
# its settings offer (a first pass looks for it, size by size), and against gloo (torch.distributed, where tests/peers/run.sh has
# installed PyTorch). In rounds, so that a change of the machine's speed hits all alike; every figure is a median over the rounds.
# Target: at 16 and 64 MiB shared memory sums at least 4 times as fast as MPI_Allreduce as it comes and as gloo; else the exit code is 1.
# What a search through Open MPI's settings makes of it is shown beside it.
#
#   tests/bench/all_reduce.sh [rounds] [repetitions in a round]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source launch/setup.sh
temper_setup
temper_build release all_reduce_bench >&2
if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
rounds="${1:-7}"
repetitions="${2:-5}"
sizes=(16 64)
peers="${XDG_CACHE_HOME:-$HOME/.cache}/temper/peers-torch2.11.0-transformers5.23.0"

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
job=(mpirun -n 2 --bind-to core --map-by core --mca btl vader,self)
export OMP_NUM_THREADS=1
bench() {  # REPETITIONS MiB [settings]: shared, messages, MPI_Allreduce
  "${job[@]}" "${@:3}" build/release/tests/bench/all_reduce_bench "$1" "$2" 2>"$scratch/log" | awk '$2 == "MiB" { print $3, $4, $5 }'
}

settings=("")
for copy in cma none; do
  for fragment in "" "--mca btl_vader_max_send_size 262144 --mca btl_vader_segment_size 268435456"; do
    for algorithm in "" 1 2 3 4 5 6; do
      setting="--mca btl_vader_single_copy_mechanism $copy $fragment"
      if [ -n "$algorithm" ]; then
        setting+=" --mca coll_tuned_use_dynamic_rules 1 --mca coll_tuned_allreduce_algorithm $algorithm"
      fi
      if [ "$algorithm" = 5 ]; then setting+=" --mca coll_tuned_allreduce_algorithm_segmentsize 1048576"; fi
      settings+=("$setting")
    done
  done
done
settings+=("--mca coll_sm_priority 100")

declare -A best
for size in "${sizes[@]}"; do
  fastest=0
  for setting in "${settings[@]}"; do
    read -r -a flags <<<"$setting"
    read -r _ _ rate < <(bench 3 "$size" ${flags[@]+"${flags[@]}"}) || continue  # a setting that does not work here
    if awk "BEGIN { exit !($rate > $fastest) }"; then fastest="$rate" best[$size]="$setting"; fi
  done
  echo "best settings of Open MPI for $size MiB: ${best[$size]:-as it comes}"
done

for ((round = 0; round < rounds; ++round)); do
  for size in "${sizes[@]}"; do
    read -r -a flags <<<"${best[$size]}"
    bench "$repetitions" "$size" | sed "s/^/$size plain /" >>"$scratch/rows"
    bench "$repetitions" "$size" ${flags[@]+"${flags[@]}"} | sed "s/^/$size tuned /" >>"$scratch/rows"
    if [ -x "$peers/bin/python" ]; then
      "${job[@]}" "$peers/bin/python" tests/bench/all_reduce_gloo.py "$scratch/meet-$round-$size" "$repetitions" "$size" \
        2>"$scratch/log" | awk '$3 == "gloo" { print $1, "gloo", $4 }' >>"$scratch/rows"
    fi
  done
done
[ -x "$peers/bin/python" ] || echo "no gloo: tests/peers/run.sh installs PyTorch"

awk -v rounds="$rounds" '
function median(name,   n, i, j, values, swap) {
  n = split(seen[name], values, " ")
  if (n == 0) return 0
  for (i = 2; i <= n; ++i)
    for (j = i; j > 1 && values[j] + 0 < values[j - 1] + 0; --j) { swap = values[j]; values[j] = values[j - 1]; values[j - 1] = swap }
  return values[int(n / 2) + 1]
}
function larger(a, b) { return a > b ? a : b }
{ if (!($1 in known)) { known[$1]; sizes[++count] = $1 } }
$2 == "gloo" { seen[$1 "gloo"] = seen[$1 "gloo"] " " $3; next }
{
  seen[$1 "shared"] = seen[$1 "shared"] " " $3
  seen[$1 "messages"] = seen[$1 "messages"] " " $4
  seen[$1 $2] = seen[$1 $2] " " $5
}
END {
  printf "GB/s, medians of %d rounds (algorithm bandwidth; for two ranks that of the bus, too)\n", rounds
  printf "%10s %10s %10s %14s %14s %10s   %s\n", "gradient", "shared", "messages", "MPI_Allreduce", "best tuned", "gloo", "shared / MPI_Allreduce, / best tuned, / gloo"
  for (i = 1; i <= count; ++i) {
    size = sizes[i]
    shared = median(size "shared"); plain = median(size "plain"); tuned = median(size "tuned"); gloo = median(size "gloo")
    to_gloo = gloo > 0 ? sprintf("%.2f", shared / gloo) : "-"
    printf "%6d MiB %10.2f %10.2f %14.2f %14.2f %10.2f   %.2f, %.2f, %s\n", size, shared, median(size "messages"), plain, tuned, gloo,
      shared / plain, shared / tuned, to_gloo
    ratio = shared / larger(plain, gloo)
    if (ratio < 4) missed = 1
  }
  if (missed) print "target missed: at least 4 times MPI_Allreduce and gloo"
  exit missed
}' "$scratch/rows"
