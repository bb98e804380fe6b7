#!/usr/bin/env bash
# Installs what temper needs and skips what is there: Debian packages (as root or with sudo) and LibTorch from the
# PyPI wheel, kept in ${XDG_CACHE_HOME:-$HOME/.cache}/temper. Source it, or run it; quickstart.sh and tests/run.sh do.
#
#   TEMPER_LIBTORCH=DIR   use this LibTorch (or the folder of an installed PyTorch) and fetch none
set -euo pipefail

temper_cache="${XDG_CACHE_HOME:-$HOME/.cache}/temper"
temper_torch_version=2.11.0

temper_packages=(
  build-essential cmake ninja-build ccache pkg-config ca-certificates
  openmpi-bin libopenmpi-dev libboost-program-options-dev nlohmann-json3-dev
  libsentencepiece-dev libpcre2-dev libutf8proc-dev libzstd-dev libxxhash-dev libgtest-dev libgmock-dev libbenchmark-dev
  python3 python3-venv iproute2
)

# For tests/slurm alone.
temper_slurm_packages=(slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge)

say() { printf '[setup] %s\n' "$*" >&2; }

temper_install_packages() {  # PACKAGE...
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
      say "these Debian packages are missing and neither root nor sudo is at hand: ${missing[*]}"
      return 2
    }
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# The wheel without its Python dependencies (0.5 GB): a CPU program needs no more than two small CUDA libraries beside it.
temper_install_libtorch() {
  if [ -n "${TEMPER_LIBTORCH:-}" ]; then
    say "LibTorch: $TEMPER_LIBTORCH (from TEMPER_LIBTORCH)"
    return
  fi
  local home="$temper_cache/libtorch-$temper_torch_version"
  export TEMPER_LIBTORCH="$home/torch"
  if [ -f "$home/complete" ]; then return; fi
  mkdir -p "$temper_cache"
  # One at a time: another set-up must not remove what a build has begun to use. The lock ends with the brackets.
  (
    flock --nonblock 9 || {
      say "waiting for another set-up to fetch LibTorch"
      flock 9
    }
    if [ -f "$home/complete" ]; then exit; fi
    say "fetching LibTorch $temper_torch_version into $home"
    rm -rf "$temper_cache"/libtorch.??????  # of a set-up that was cut
    part="$(mktemp -d "$temper_cache/libtorch.XXXXXX")"
    python3 -m venv "$part/venv"
    # By themselves pip unpacks gigabytes in /tmp, and keeps the wheels in its cache, too.
    TMPDIR="$part" "$part/venv/bin/python" -m pip install --quiet --no-cache-dir --no-deps --no-compile --target "$part/site" \
      "torch==$temper_torch_version" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85
    touch "$part/site/complete"
    chmod 755 "$part/site"
    rm -rf "$home"
    mv "$part/site" "$home"
    rm -rf "$part"
  ) 9>"$temper_cache/lock"
}

temper_setup() {
  mkdir -p "$temper_cache"
  temper_install_packages "${temper_packages[@]}"
  temper_install_libtorch
  # Open MPI refuses root by default; containers and fresh machines are root.
  if [ "$(id -u)" -eq 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  fi
}

# temper_build PRESET TARGET: configures where that is needed, and builds. Call from the root of the checkout.
temper_build() {
  say "building the preset $1"
  cmake --preset "$1" -DTEMPER_LIBTORCH="$TEMPER_LIBTORCH" >"$temper_cache/configure-$1.log" 2>&1 || {
    cat "$temper_cache/configure-$1.log" >&2
    return 1
  }
  cmake --build --preset "$1" --target "$2"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then temper_setup; fi
