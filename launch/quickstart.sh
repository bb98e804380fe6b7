#!/usr/bin/env bash
# From an empty Debian 12 machine to a distilled, calibrated student: installs what is missing, builds, and runs the main job on the
# built-in language with one teacher and two student ranks. Further options go to temper: launch/quickstart.sh --train.steps 50
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/setup.sh
temper_setup
temper_build release temper
say "running the main job (about four minutes on two cores)"
exec mpirun --oversubscribe --bind-to none -n 3 build/release/temper distill --config configs/quickstart.ini \
  --run.dir runs/quickstart --run.overwrite true "$@"
