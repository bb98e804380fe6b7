#!/usr/bin/env bash
# The program of the preset cuda on a machine without a GPU: it holds kernels for sm_80 and sm_90, starts, says that no GPU is visible, and
# runs on the CPU only where that is allowed (--run.device auto or cpu).
#
# Libraries of CUDA that LibTorch's wheel asks for, and cuobjdump, are fetched from PyPI where this machine lacks them, into
# ${XDG_CACHE_HOME:-$HOME/.cache}/temper/cuda-libraries.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
temper=build/cuda/temper
[ -x "$temper" ] || { echo "without_gpu.sh: $temper is not there: cmake --build --preset cuda --target temper" >&2; exit 2; }
if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
export CUDA_VISIBLE_DEVICES=""
PATH+=:/usr/local/cuda/bin

declare -A wheels=(  # as LibTorch 2.11's wheel wants them
  [libcufile.so.0]=nvidia-cufile==1.15.1.6 [libcusparseLt.so.0]=nvidia-cusparselt-cu13==0.8.0
  [libnvshmem_host.so.3]=nvidia-nvshmem-cu13==3.4.5 [libcudnn.so.9]=nvidia-cudnn-cu13==9.19.0.56 [libnccl.so.2]=nvidia-nccl-cu13==2.28.9)
libraries="${XDG_CACHE_HOME:-$HOME/.cache}/temper/cuda-libraries"
own_path="${LD_LIBRARY_PATH:-}"
look() {
  local folder path=""
  for folder in "$libraries"/*/nvidia/*; do
    if [ -d "$folder/lib" ]; then path+="$folder/lib:"; fi
    if [ -d "$folder/bin" ]; then PATH+=":$folder/bin"; fi
  done
  export LD_LIBRARY_PATH="$path$own_path"
}
fetch() {  # WHEEL
  local part
  echo "[gpu] fetching $1" >&2
  part="$(mktemp -d "$libraries/part.XXXXXX")"
  python3 -m venv "$part/venv"
  # By itself pip unpacks in /tmp, and keeps the wheel in its cache, too.
  TMPDIR="$part" "$part/venv/bin/python" -m pip install --quiet --no-cache-dir --no-deps --no-compile --target "$part/site" "$1"
  rm -rf "${libraries:?}/$1"
  mv "$part/site" "$libraries/$1"
  rm -rf "$part"
}
# One at a time: another call must not remove what this one has begun to use. The lock ends with the brackets.
mkdir -p "$libraries"
(
  flock 9
  rm -rf "$libraries"/part.??????  # of a call that was cut
  look
  for library in $(ldd "$temper" | sed -n 's/^\t*\(.*\) => not found/\1/p'); do
    wheel="${wheels[$library]:-}"
    [ -n "$wheel" ] || { echo "without_gpu.sh: $temper needs $library, which is not here: install CUDA's libraries" >&2; exit 2; }
    fetch "$wheel"
  done
  if ! command -v cuobjdump >/dev/null; then fetch nvidia-cuda-cuobjdump==13.2.78; fi
) 9>"$libraries/lock"
look

fail() { echo "without_gpu.sh: $*" >&2; exit 1; }
kernels="$(cuobjdump --list-elf "$temper")"
for architecture in sm_80 sm_90; do
  grep -q "\.$architecture\.cubin" <<<"$kernels" || fail "$temper holds no kernels for $architecture:"$'\n'"$kernels"
done
cuobjdump --list-ptx "$temper" | grep -q '\.ptx' || fail "$temper holds no PTX for later GPUs"

run() { "$temper" distill --dry-run --run.device "$1" 2>&1; }  # DEVICE
what="$(run auto)" || fail "--run.device auto fails:"$'\n'"$what"
grep -q "no GPU is visible" <<<"$what" || fail "--run.device auto does not say that no GPU is visible:"$'\n'"$what"
grep -q "^Ranks: 1 .*device cpu" <<<"$what" || fail "--run.device auto does not fall back to the CPU:"$'\n'"$what"
what="$(run cpu)" || fail "--run.device cpu fails:"$'\n'"$what"
if grep -q "no GPU is visible" <<<"$what"; then fail "--run.device cpu misses a GPU that nobody asked for:"$'\n'"$what"; fi
status=0
what="$(run cuda)" || status=$?
[ "$status" -eq 2 ] || fail "--run.device cuda ends with exit code $status, not 2:"$'\n'"$what"
grep -q -- "--run.device is cuda, but no GPU is visible" <<<"$what" || fail "--run.device cuda does not say why it fails:"$'\n'"$what"
echo "[gpu] $temper: kernels for sm_80 and sm_90, PTX; without a GPU it falls back with auto, and refuses cuda"
