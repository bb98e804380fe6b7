#!/usr/bin/env bash
# Soft targets through shared memory against MPI messages in every tuning that Open MPI offers on one
# node. Each row holds both, measured in turn in one run; shared memory does not depend on the
# settings, so it also shows how steady the machine is. The last lines compare the best of each, over
# the settings and, for both, over the lookahead.
#
#   tests/bench/transport.sh [repetitions] [MiB per measurement]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source launch/setup.sh
temper_setup
temper_build release stream_bench >&2

rows="$(mktemp)"
trap 'rm -f "$rows"' EXIT
measure() {
  echo "== ${*:-Open MPI as it comes}"
  OMP_NUM_THREADS=1 mpirun -n 2 --bind-to core --map-by core --mca btl vader,self "$@" \
    build/release/tests/bench/stream_bench "${repetitions}" "${mebibytes}" | tee -a "$rows" ||
    echo "this setting does not work here"
}
repetitions="${1:-9}"
mebibytes="${2:-256}"

measure
for copy in none cma; do
  for eager in 4096 65536; do
    for fragment in 32768 262144 1048576; do
      measure --mca btl_vader_single_copy_mechanism "$copy" --mca btl_vader_eager_limit "$eager" \
        --mca btl_vader_max_send_size "$fragment" --mca btl_vader_segment_size 268435456
    done
  done
done

echo "== best of each over all settings, GB/s"
awk '$2 ~ /iB$/ && NF == 7 {
  size = $1 " " $2
  if (!(size in shared)) order[++sizes] = size
  if ($4 > shared[size]) { shared[size] = $4; depth[size] = $3 }
  for (column = 5; column <= 6; ++column)
    if ($column > sent[size]) sent[size] = $column
}
END {
  for (i = 1; i <= sizes; ++i)
    printf "%10s   shared %7.2f (lookahead %2d)   best MPI send %7.2f   ratio %5.2f\n", order[i], shared[order[i]],
           depth[order[i]], sent[order[i]], shared[order[i]] / sent[order[i]]
}' "$rows"
