#!/usr/bin/env bash
# From an empty Debian 12 machine to a distilled, calibrated student: installs what is missing, builds, and runs the main job on the
# built-in language with one teacher and two student ranks. Further options go to temper: launch/quickstart.sh --train.steps 50
#
# Each call begins the checkout's runs/quickstart anew; with --run.dir DIR the run goes there, and is not begun over another
# one. Paths are relative to the folder that it is called from.
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
at="$root/"  # where the checkout is, from the caller's folder
if [ "$(pwd -P)" = "$root" ]; then at=""; fi
given() {  # OPTION ARGUMENT...: whether it is among them
  local option="$1" argument
  shift
  for argument in "$@"; do
    case "$argument" in "$option" | "$option="*) return ;; esac
  done
  return 1
}
# An option that stands twice would be refused, after the build.
own=()
given --config "$@" || own+=(--config "${at}configs/quickstart.ini")
if ! given --run.dir "$@"; then
  own+=(--run.dir "${at}runs/quickstart")
  given --run.overwrite "$@" || given --run.resume "$@" || own+=(--run.overwrite true)
fi

source "$root/launch/setup.sh"
temper_setup
(cd "$root" && temper_build release temper)
say "running the main job (about four minutes on two cores)"
exec mpirun --oversubscribe --bind-to none -n 3 "${at}build/release/temper" distill "${own[@]}" "$@"
