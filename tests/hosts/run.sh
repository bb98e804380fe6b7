#!/usr/bin/env bash
# temper distill across test hosts against the same job on one host: run.sh TEMPER
#
# The losses of every step must agree to 1e-4 relative; the script says where they are the same bit for bit. Each host must be
# a node of its own. Skips with exit code 77, and says why, where network namespaces are not to be had.
set -euo pipefail
temper="$1"
source "$(dirname "${BASH_SOURCE[0]}")/hosts.sh"
if ! hosts_check; then exit 77; fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1

scratch="$(mktemp -d)"
hosts_up 3
trap 'hosts_down; rm -rf "$scratch"' EXIT

job=(distill --teacher.layers 1 --teacher.width 32 --student.layers 1 --student.width 16 --student.heads 2 --train.steps 6
  --train.batch 8 --train.seq 32 --train.warmup 2 --evaluate.max-tokens 64 --run.threads 1)
failures=0

losses() { sed -n 's/.*"loss":\([^,]*\),.*/\1/p' "$1/metrics.jsonl"; }

check_nodes() {  # LAYOUT WORDS...: lines of --dry-run's list of ranks
  local layout="$1" plan line
  shift
  plan="$(hosts_mpirun "$layout" "$temper" "${job[@]}" --launch.teachers 1 --dry-run)"
  for line in "$@"; do
    grep -qx "  $line" <<<"$plan" || {
      echo "FAILED: '$line' is not in the plan of $layout:"
      grep '  rank ' <<<"$plan" || true
      failures=$((failures + 1))
    }
  done
}

compare() {  # NAME REFERENCE OTHER
  paste <(losses "$2") <(losses "$3") | awk -v name="$1" '
    { d = ($1 - $2) / $1; if (d < 0) d = -d; if (d > most) most = d; if ($1 != $2) differ = 1 }
    END {
      bad = NR != 6 || most > 1e-4
      printf "%s%-34s largest relative difference of the loss %.1e%s\n", bad ? "FAILED: " : "", name, most,
             differ ? "" : ", the same bit for bit"
      exit bad
    }' || failures=$((failures + 1))
}

check_nodes 1:1,2:2 "rank 0  node 0  student 0" "rank 1  node 1  student 1" "rank 2  node 1  teacher 0"
check_nodes 1:1,2:1,3:1 "rank 0  node 0  student 0" "rank 1  node 1  student 1" "rank 2  node 2  teacher 0"

for payload in full hidden; do
  for teachers in 1 2; do
    one="$scratch/$payload-$teachers"
    mpirun --oversubscribe --bind-to none -n $((teachers + 2)) "$temper" "${job[@]}" --teacher.payload "$payload" \
      --launch.teachers "$teachers" --run.dir "$one" >"$scratch/log" 2>&1 || { cat "$scratch/log"; exit 1; }
    # 1 x 2: the teacher beside the first student, then beside the second. 2 x 2: a student and its teacher on each host, between
    # which no soft target travels, then the first student alone on its host, so that all it learns comes from the other one.
    if [ "$teachers" -eq 1 ]; then layouts="1:2,2:1 1:1,2:2"; else layouts="1:2,2:2 1:1,2:3"; fi
    for layout in $layouts; do
      across="$one-across-${layout//[:,]/-}"
      hosts_mpirun "$layout" "$temper" "${job[@]}" --teacher.payload "$payload" --launch.teachers "$teachers" \
        --run.dir "$across" >"$scratch/log" 2>&1 || { cat "$scratch/log"; exit 1; }
      compare "$payload, $teachers x 2, ranks $layout" "$one" "$across"
      if [ "$layout" = 1:2,2:2 ] && ! grep -q 'stream  2 pairs through shared memory$' "$scratch/log"; then
        echo "FAILED: $payload, ranks $layout: students do not hear from their own host's teachers alone:"
        grep 'stream ' "$scratch/log" || true
        failures=$((failures + 1))
      fi
    done
  done
done
# A stopped rank with others on its host, which see it; one alone on its host, of which the others know only that they wait.
stopped() {  # LAYOUT FAULT WORDS: of the one line that says why the job ends
  local code=0
  hosts_mpirun "$1" "$temper" "${job[@]}" --launch.teachers 1 --run.timeout 3 --debug.fault "$2" --run.dir "$scratch/stopped-${2//:/-}" \
    >"$scratch/log" 2>&1 || code=$?
  if [ "$code" -eq 5 ] && [ "$(grep -c ': error: ' "$scratch/log")" -eq 1 ] && grep -q ": error: $3" "$scratch/log"; then
    echo "ranks $1, $2: $(grep -o ': error: .\{60\}' "$scratch/log")..."
  else
    echo "FAILED: ranks $1, $2: exit code $code, not 5 with one line '$3':"
    cat "$scratch/log"
    failures=$((failures + 1))
  fi
}
stopped 1:1,2:2 1:3:stop "rank 1 on .* has not run for .*; training, step 3"
stopped 1:1,2:2 0:3:stop "all ranks of .* have waited for .*: rank 1 waited for .*training, step 3"
[ "$failures" -eq 0 ] || { echo "$failures failed"; exit 1; }
