#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test. Arguments go to ctest: tests/run.sh -R comm
#   TEMPER_FUZZ=SECONDS   how long damaged input is tried on each reader (20; 0: not at all; 600 before a release)
#   TEMPER_PEERS=no   leaves out the comparison with PyTorch and transformers, which downloads Python packages
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/setup.sh
temper_setup
temper_install_packages "${temper_slurm_packages[@]}" || say "without Slurm: its tests are skipped"
temper_build release all
status=0
ctest --test-dir build/release --output-on-failure -j 2 "$@" || status=$?
if [ "${TEMPER_FUZZ:-20}" -gt 0 ] && [ $# -eq 0 ]; then
  tests/fuzz/run.sh "${TEMPER_FUZZ:-20}" || status=$?
fi
if [ "${TEMPER_PEERS:-yes}" = yes ] && [ $# -eq 0 ]; then
  tests/peers/run.sh || status=$?
fi
exit $status
