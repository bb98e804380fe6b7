#!/usr/bin/env bash
# Every reader of files, and of the command line, under libFuzzer and the sanitizers: run.sh SECONDS [TARGET...]
#
#   tests/fuzz/run.sh 20                each target for 20 s, as many at once as there are cores (tests/run.sh does this)
#   tests/fuzz/run.sh 600               by hand, before a release
#   tests/fuzz/run.sh 600 safetensors   one target; build/fuzz/tests/fuzz/fuzz --list gives the names
#
# First, targets with a planted fault: each must be found. Then a line a target: inputs tried, how many of them opened, edges and features
# of the program that they reach (libFuzzer's cov and ft). Corpora are kept in build/fuzz/corpus and serve the next run. An input that
# fails is kept in build/fuzz/failures; `build/fuzz/tests/fuzz/fuzz TARGET FILE` tries it again. The exit code is 1 if one failed.
#   TEMPER_FUZZ_JOBS=N   targets at once (the number of cores)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[[ "${1:-}" =~ ^[1-9][0-9]*$ ]] || { echo "run.sh: give the seconds of each target: tests/fuzz/run.sh 20" >&2; exit 2; }
seconds="$1"
shift
source launch/setup.sh
temper_packages+=(clang libclang-rt-dev)
temper_setup
temper_build fuzz fuzz
fuzz=build/fuzz/tests/fuzz/fuzz
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p build/fuzz/corpus build/fuzz/failures
if [ -w /dev/shm ]; then export TMPDIR=/dev/shm; fi  # each input becomes a file
jobs="${TEMPER_FUZZ_JOBS:-$(nproc)}"  # which heeds OMP_NUM_THREADS
export OMP_NUM_THREADS=1 fuzz work seconds

# attempt TARGET SECONDS CORPUS FAILURES: one target; its output goes to $work/TARGET.log
attempt() {
  "$fuzz" "$1" --seeds "$work/$1" >"$work/$1.log" 2>&1 || return 1
  "$fuzz" "$1" -max_total_time="$2" -timeout=10 -rss_limit_mb=2560 -print_final_stats=1 -verbosity=1 -dict="$work/$1/words.dict" \
    -artifact_prefix="$4/$1-" "$3" "$work/$1/seeds" >>"$work/$1.log" 2>&1
}

planted() {
  mkdir -p "$work/planted/$1"
  if attempt "$1" 60 "$work/planted/$1" "$work/planted"; then
    echo "[fuzz] $1: NOT FOUND: the fuzzer is blind"
    return 1
  fi
  # The fault itself, and not that the program did not start.
  ls "$work/planted/$1"-* >/dev/null 2>&1 || { cat "$work/$1.log"; return 1; }
}

tried() {
  mkdir -p "build/fuzz/corpus/$1"
  local status=passed numbers
  attempt "$1" "$seconds" "build/fuzz/corpus/$1" build/fuzz/failures || status=FAILED
  numbers="$(sed -n 's/.*cov: \([0-9]*\) ft: \([0-9]*\) .*/cov \1, ft \2/p' "$work/$1.log" | tail -n 1)"
  printf '[fuzz] %-19s %s  %s; %s\n' "$1" "$status" "$(sed -n "s/^fuzz: $1: \([0-9]* inputs, .*\)/\1/p" "$work/$1.log" | tail -n 1)" "$numbers"
  if [ "$status" = passed ]; then return; fi
  tail -n 60 "$work/$1.log"
  return 1
}
export -f attempt planted tried

targets=("$@")
if [ $# -eq 0 ]; then mapfile -t targets < <("$fuzz" --list); fi
status=0
"$fuzz" --list-planted | xargs -P "$jobs" -I {} bash -c 'planted {}' || status=1
if [ "$status" -eq 0 ]; then echo "[fuzz] $("$fuzz" --list-planted | wc -l) planted faults found; $seconds s for each of ${#targets[@]} targets"; fi
printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -I {} bash -c 'tried {}' || status=1
exit "$status"
