# Where programs, Open MPI and LibTorch are on this machine; sourced by run.sh and pack.sh, or by a person who wants to run
# one of the bundle's programs by hand:
#
#   source tests/gpu/environment.sh && gpu_environment && gpu mpirun -n 2 --oversubscribe "$(gpu_program temper)" --help
#
#   DEVICE=cuda|cpu       with cpu, the programs of build/release come before the bundle's (cuda)
#   BUNDLE=DIR            what pack.sh made (build/gpu). Named, it is used even where build/cuda would do
#   TEMPER_LIBTORCH=DIR   LibTorch (that of python3's PyTorch)

gpu_here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
gpu_root="$(cd "$gpu_here/../.." && pwd)"
gpu_programs=(temper student_test gpu_test gpu_ranks_test head_loss_bench)

gpu_place_in_build() {  # NAME: below the build folder
  case "$1" in
    temper) echo temper ;;
    student_test) echo tests/student/student_test ;;
    gpu_test|gpu_ranks_test) echo "tests/gpu/$1" ;;
    head_loss_bench) echo tests/bench/head_loss_bench ;;
  esac
}

gpu_libtorch_version() {  # DIR: 2.11.0, without what stands behind a plus sign
  local version
  version="$(sed -n "s/^__version__ = '\([0-9.]*\).*/\1/p" "$1/version.py" 2>/dev/null ||
    sed 's/+.*//' "$1/build-version" 2>/dev/null)" || true
  echo "${version:-unknown}"
}

# Sets gpu_libtorch and gpu_libraries: LibTorch's folder, and where the loader finds it and the wheels beside it. LibTorch finds
# these by itself; the programs also need NCCL and the CUDA runtime by name.
gpu_find_libtorch() {
  local find='import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' folder
  gpu_libtorch="${TEMPER_LIBTORCH:-$(python3 -c "$find" 2>/dev/null || true)}"
  [ -d "$gpu_libtorch/lib" ] || gpu_libtorch="${gpu_libtorch:+$gpu_libtorch/torch}"
  [ -f "$gpu_libtorch/lib/libtorch_cpu.so" ] || return 1
  gpu_libraries="$gpu_libtorch/lib"
  for folder in "$gpu_libtorch"/../nvidia/*/lib; do
    if [ -d "$folder" ]; then gpu_libraries+=":$folder"; fi
  done
}

# Sets gpu_build (a build folder) or gpu_bundle, whichever is used, and gpu_libtorch and gpu_libraries; exports what Open MPI wants to know.
gpu_environment() {
  local build="$gpu_root/build/cuda"
  if [ "${DEVICE:-cuda}" = cpu ]; then build="$gpu_root/build/release"; fi
  gpu_build="" gpu_bundle="${BUNDLE:-$gpu_root/build/gpu}" gpu_libraries="" gpu_libtorch=""
  if [ -z "${BUNDLE:-}" ] && [ -x "$build/temper" ] && command -v mpirun >/dev/null &&
    { gpu_resolves "$build/temper" || { gpu_find_libtorch && gpu_resolves "$build/temper"; }; }; then
    gpu_build="$build"
    gpu_libtorch="$(gpu ldd "$build/temper" | sed -n 's:.* => \(/.*\)/lib/libtorch_cpu\.so .*:\1:p')"
  elif [ -x "$gpu_bundle/bin/temper" ]; then
    gpu_bundle="$(cd "$gpu_bundle" && pwd)"
    gpu_use_bundle || return 2
  else
    if [ -z "${BUNDLE:-}" ]; then echo "environment.sh: $build/temper is not there, or does not find its libraries" >&2; fi
    echo "environment.sh: $gpu_bundle/bin/temper is not there: make it with tests/gpu/pack.sh where the preset cuda is built" >&2
    return 2
  fi
  local loopback=/sys/class/net/lo/flags
  if [ -r "$loopback" ] && [ $(($(cat "$loopback") & 1)) -eq 0 ]; then
    echo "environment.sh: the network interface lo is down, and Open MPI cannot do without: ip link set lo up" >&2
    return 2
  fi
  # Containers often forbid that one process reads another's memory.
  export OMPI_MCA_btl_vader_single_copy_mechanism="${OMPI_MCA_btl_vader_single_copy_mechanism:-none}"
  if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
}

gpu_use_bundle() {
  gpu_find_libtorch || {
    echo "environment.sh: no LibTorch in ${TEMPER_LIBTORCH:-"the packages of $(command -v python3 || echo python3)"}: set TEMPER_LIBTORCH" \
      "to the folder of an installed PyTorch" >&2
    return 2
  }
  local made_for here
  made_for="$(cat "$gpu_bundle/libtorch-version")" here="$(gpu_libtorch_version "$gpu_libtorch")"
  if [ "$made_for" != "$here" ]; then
    echo "environment.sh: $gpu_bundle was made for LibTorch $made_for, and $gpu_libtorch is $here: set TEMPER_LIBTORCH to another," \
      "or build and pack with -DTEMPER_LIBTORCH of that version" >&2
    return 2
  fi
  gpu_libraries+=":$gpu_bundle/lib"
  local mpi="$gpu_bundle/mpi"
  PATH="$mpi/bin:$PATH"
  export PATH
  # Open MPI and PMIx have their folders compiled in; these move them.
  export OPAL_PREFIX="$mpi" OPAL_LIBDIR="$mpi/lib" OPAL_PKGLIBDIR="$mpi/lib/openmpi" OPAL_PKGDATADIR="$mpi/share/openmpi" \
    OPAL_SYSCONFDIR="$mpi/etc"
  export PMIX_PREFIX="$mpi" PMIX_LIBDIR="$mpi/lib" PMIX_PKGLIBDIR="$mpi/lib/pmix" PMIX_DATADIR="$mpi/share" \
    PMIX_PKGDATADIR="$mpi/share/pmix" PMIX_SYSCONFDIR="$mpi/etc"
  export HWLOC_PLUGINS_PATH="$mpi/lib/hwloc"  # none: another hwloc's would not fit
}

# Runs a command with the libraries in reach. Not exported: Python and the system's tools shall keep their own.
gpu() {
  local all="$gpu_libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  if [ -z "$gpu_libraries" ]; then all="${LD_LIBRARY_PATH:-}"; fi
  env ${all:+LD_LIBRARY_PATH="$all"} "$@"
}

gpu_resolves() { ! gpu ldd "$1" 2>/dev/null | grep -q 'not found'; }

gpu_program() {  # NAME: prints its path; 1 where it is not built
  local path="$gpu_bundle/bin/$1"
  if [ -n "$gpu_build" ]; then path="$gpu_build/$(gpu_place_in_build "$1")"; fi
  echo "$path"
  [ -x "$path" ]
}
