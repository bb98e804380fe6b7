#!/usr/bin/env bash
# Should one train at the temperature that one decodes with? launch/study.sh [METHOD...]     (all methods)
#
# Trains a teacher on the built-in language, and from it and from the language students of one shape (configs/study.ini) by each method, with
# two seeds; calibrates each; lets each write freely at T = 1 and 0.5 and greedily. Prints a table, which also stands in RUNS/table.md:
# test NLL, the exact KL of the language to the model, ECE before and after calibration, the exact calibration error, the fitted T; and of
# what was written the teacher's NLL and the share of repeated 4-grams. RUNS/study.html compares the runs of the first seed. A student that
# is there is not trained again; students of another configs/study.ini or ROWS are refused.
#
#   RUNS=DIR (runs/study)   SEEDS="1 2"   TEMPER=FILE (build/release/temper)   ROWS=N written at each temperature (256)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
runs="${RUNS:-runs/study}" rows="${ROWS:-256}"
read -r -a seeds <<<"${SEEDS:-1 2}"
if [ -z "${TEMPER:-}" ]; then
  source launch/setup.sh
  temper_setup
  temper_build release temper
fi
temper="${TEMPER:-build/release/temper}"

# METHOD: the command and its options.
declare -A methods=(
  [hard-labels]="train"
  [smoothing-0.1]="train --loss.label-smoothing 0.1"
  [penalty-0.1]="train --loss.confidence-penalty 0.1"
  [tempering-0.5]="train --loss.hard-temperature 0.5"
  [tempering-2]="train --loss.hard-temperature 2"
  [tempering-4]="train --loss.hard-temperature 4"
  [scheduled-sampling]="train --train.scheduled-sampling 0.5"
  [distilled-T1]="distill --teacher.temperature 1"
  [distilled-T2]="distill --teacher.temperature 2"
  [distilled-T4]="distill --teacher.temperature 4"
  [distilled-T8]="distill --teacher.temperature 8"
  [on-policy-0.5]="distill --teacher.temperature 1 --train.on-policy 0.5"
)
order=(hard-labels smoothing-0.1 penalty-0.1 tempering-0.5 tempering-2 tempering-4 scheduled-sampling distilled-T1 distilled-T2 distilled-T4
  distilled-T8 on-policy-0.5)
chosen=("$@")
if [ $# -eq 0 ]; then chosen=("${order[@]}"); fi
for method in "${chosen[@]}"; do
  [ -n "${methods[$method]:-}" ] || { echo "study.sh: no method '$method': give some of ${order[*]}" >&2; exit 2; }
done

log="$runs/log"
mkdir -p "$runs"
run() {  # WHAT COMMAND...: its output goes to the log, or to the screen if it fails
  local what="$1" began="$SECONDS"
  shift
  "$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
  echo "$what: $((SECONDS - began)) s" >&2
}
number() {  # FILE NAME [N]: the N-th number (from 1) that has this name in a JSON file
  grep -o "\"$2\": *[-0-9.e+][-0-9.e+]*" "$1" | sed -n "${3:-1}s/.*: *//p"
}

teacher="$runs/teacher" note="$runs/made-of"
made_of="configs/study.ini with the checksum $(sha256sum configs/study.ini | cut -c 1-16) and ROWS=$rows"
if [ ! -e "$note" ] && [ ! -e "$teacher" ]; then echo "$made_of" >"$note"; fi
[ "$(cat "$note" 2>/dev/null)" = "$made_of" ] || {
  echo "study.sh: $runs was made of $(cat "$note" 2>/dev/null || echo "what it does not say"), not of $made_of:" \
    "give another folder by RUNS, or remove this one" >&2
  exit 2
}
if [ ! -e "$teacher/summary.json" ]; then
  run teacher "$temper" train --config configs/study.ini --model.layers 4 --model.width 192 --model.heads 6 --train.steps 800 --train.lr 2e-3 \
    --run.dir "$teacher" --run.overwrite true
fi

for method in "${chosen[@]}"; do
  for seed in "${seeds[@]}"; do
    dir="$runs/$method-$seed"
    read -r -a how <<<"${methods[$method]}"
    if [ ! -e "$dir/summary.json" ]; then
      more=()
      if [ "${how[0]}" = distill ]; then more=(--teacher.path "$teacher/model"); fi
      run "$method, seed $seed" "$temper" "${how[@]}" --config configs/study.ini ${more[@]+"${more[@]}"} --run.seed "$seed" --run.dir "$dir" \
        --run.overwrite true
    fi
    model="$dir/model"
    if [ "${how[0]}" = distill ]; then model="$dir/student"; fi
    for temperature in 1 0.5 0; do
      file="$dir/writes-$temperature.json"
      if [ -e "$file" ]; then continue; fi
      "$temper" evaluate --config configs/study.ini --model.path "$model" --evaluate.teacher "$teacher/model" --evaluate.writes "$rows" \
        --evaluate.writing-temperature "$temperature" --json >"$file.part" 2>"$log" || { cat "$log" >&2; exit 1; }
      mv "$file.part" "$file"
    done
  done
done

# A row a method: means over the seeds, and half their range where it is a matter of the third digit.
{
  echo "| method | NLL | KL of the language, exact | ECE | ECE, calibrated | calibration error, exact | fitted T | KL to the teacher | teacher's NLL of its text at T = 1, 0.5, greedy | repeated 4-grams |"
  echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
  for method in "${chosen[@]}"; do
    for seed in "${seeds[@]}"; do
      dir="$runs/$method-$seed"
      # Of the last model in the summary: test part before (third block of metrics) and after (fourth).
      echo "$(number "$dir/writes-1.json" nll) $(number "$dir/writes-1.json" kl) $(number "$dir/writes-1.json" ece)" \
        "$(awk '/"test"/ { test = 1 } /"exact"/ { test = 0 } /"after"/ { test = 1 }
          test && /"ece": [0-9]/ { gsub(/[^-0-9.e+]/, "", $2); value = $2 } END { print value }' "$dir/summary.json")" \
        "$(awk '/"temperature":/ { gsub(/[^-0-9.e+]/, "", $2); value = $2 } END { print value }' "$dir/summary.json")" \
        "$(number "$dir/writes-1.json" kl_to_teacher) $(number "$dir/writes-1.json" teacher_nll) $(number "$dir/writes-0.5.json" teacher_nll)" \
        "$(number "$dir/writes-0.json" teacher_nll) $(number "$dir/writes-1.json" repeated_4grams) $(number "$dir/writes-0.5.json" repeated_4grams)" \
        "$(number "$dir/writes-0.json" repeated_4grams) $(number "$dir/writes-1.json" ece 2)"
    done | awk -v method="$method" '
      { for (i = 1; i <= NF; ++i) { sum[i] += $i; if (NR == 1 || $i < low[i]) low[i] = $i; if (NR == 1 || $i > high[i]) high[i] = $i } }
      function mean(i) { return sum[i] / NR }
      END {
        printf "| %s | %.4f ± %.4f | %.4f | %.2f %% | %.2f %% | %.2f %% | %.3f | %.4f | %.3f, %.3f, %.3f | %.1f, %.1f, %.1f %% |\n", method, mean(1),
          (high[1] - low[1]) / 2, mean(2), 100 * mean(3), 100 * mean(4), 100 * mean(13), mean(5), mean(6), mean(7), mean(8), mean(9),
          100 * mean(10), 100 * mean(11), 100 * mean(12)
      }'
  done
} | tee "$runs/table.md"
pages=()
for method in "${chosen[@]}"; do pages+=("$runs/$method-${seeds[0]}"); done
if [ ${#pages[@]} -gt 1 ]; then "$temper" report "${pages[@]}" --report.file "$runs/study.html" >"$log"; fi
