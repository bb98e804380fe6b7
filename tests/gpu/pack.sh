#!/usr/bin/env bash
# Gathers what a GPU machine without Open MPI and our other libraries needs to run what was built here: pack.sh [DIR [PROGRAM...]]
#
#   DIR/bin   the programs, stripped (without PROGRAM: those of build/cuda that run.sh knows and that are built)
#   DIR/lib   their shared libraries, but for those of glibc and the compiler, and LibTorch's, CUDA's and NCCL's, which are there
#   DIR/mpi   Open MPI 4 for one machine: mpirun, orted, components, help texts. Messages go through shared memory or TCP
#
# DIR is build/gpu by default and may be moved; environment.sh says to the programs where it is. It has to stay below 60 MiB (LIMIT_MIB).
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
source "$here/environment.sh"
export LC_ALL=C

fail() { echo "pack.sh: $*" >&2; exit 2; }

[[ "${1:-}" != -* ]] || fail "no option '$1': pack.sh [DIR [PROGRAM...]]"
folder="${1:-$root/build/gpu}"
[ $# -eq 0 ] || shift
programs=("$@")
if [ $# -eq 0 ]; then
  for name in "${gpu_programs[@]}"; do
    program="$root/build/cuda/$(gpu_place_in_build "$name")"
    if [ -x "$program" ]; then programs+=("$program"); fi
  done
  [ ${#programs[@]} -gt 0 ] || fail "nothing is built: cmake --build --preset cuda --target ${gpu_programs[*]}"
fi
for program in "${programs[@]}"; do [ -x "$program" ] || fail "$program is not there, or is no program"; done
for tool in readelf ldd strip ompi_info mpirun; do
  command -v "$tool" >/dev/null || fail "'$tool' is not here (Debian: binutils, libc-bin, openmpi-bin)"
done
version="$(ompi_info --version | sed -n 's/^Open MPI v//p')"
[[ "$version" == 4.* ]] || fail "this Open MPI is ${version:-unknown}; its folders are known for 4 alone"

# Only what an earlier call made goes away.
if [ -e "$folder" ] && [ ! -e "$folder/libtorch-version" ] && [ -n "$(ls -A "$folder")" ]; then
  fail "$folder is not empty and not a folder that pack.sh made: remove it, or name another"
fi
mkdir -p "$folder"
folder="$(cd "$folder" && pwd)"
rm -rf "${folder:?}"/{bin,lib,mpi,libtorch-version}
mkdir -p "$folder"/{bin,lib} "$folder"/mpi/{bin,etc,lib/openmpi,lib/pmix,share/openmpi,share/pmix}

# A library by the name that programs ask for it; 0 (yes) where the GPU machine has it.
is_there() {
  case "$1" in
    ld-linux*|libc.so.*|libm.so.*|libmvec.so.*|libpthread.so.*|libdl.so.*|librt.so.*|libutil.so.*|libresolv.so.*|libanl.so.*) ;;
    libstdc++.so.*|libgcc_s.so.*) ;;
    libtorch*|libc10*|libcaffe2*|libshm.so*|libgomp*) ;;
    libcuda.so.*|libcudart.so.*|libcudnn*|libcublas*|libcufft*|libcufile*|libcurand*|libcusolver*|libcusparse*|libcupti.so.*) ;;
    libnccl.so.*|libnvrtc*|libnvJitLink.so.*|libnvToolsExt.so.*|libnvshmem*|libnvidia*) ;;
    *) return 1 ;;
  esac
}

# add_libraries FILE: into lib/, whatever FILE needs, and what that needs. The loader says where each is.
add_libraries() {
  local map name path
  map="$(ldd "$1")"
  for name in $(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
    if is_there "$name" || [ -e "$folder/lib/$name" ]; then continue; fi
    path="$(awk -v name="$name" '$1 == name && $2 == "=>" && $3 ~ /^\// { print $3 }' <<<"$map")"
    [ -n "$path" ] || fail "$1 needs $name, which is not to be found here: ldd $1"
    cp -L "$path" "$folder/lib/$name"
    chmod 644 "$folder/lib/$name"
    if [[ "$name" == libpmix.so.* ]]; then pmix="$(dirname "$(readlink -f "$path")")"; fi
    add_libraries "$path"
  done
}

libtorch=""
pmix=""
for program in "${programs[@]}"; do
  name="$(basename "$program")"
  [ ! -e "$folder/bin/$name" ] || fail "two programs have the name $name"
  strip -o "$folder/bin/$name" "$program"
  chmod 755 "$folder/bin/$name"
  add_libraries "$program"
  libtorch="$(ldd "$program" | sed -n 's:.* => \(/.*\)/lib/libtorch_cpu\.so .*:\1:p')"
  [ -n "$libtorch" ] || fail "$program finds no libtorch_cpu.so: was the LibTorch that it was built with moved? See launch/setup.sh"
  gpu_libtorch_version "$libtorch" >"$folder/libtorch-version.part"
done
mv "$folder/libtorch-version.part" "$folder/libtorch-version"

# Open MPI. Left out are networks that one machine has not, what drags in large libraries, OpenSHMEM, and the schedulers of clusters.
path_of() { ompi_info --parsable --path "$1" | sed -n "s/^path:$1://p"; }
unwanted='ucx|uct|ofi|openib|usnic|portals4|psm|psm2|cuda|smcuda|hcoll|fca|mxm|flux|jsm|slurm|gridengine|lsf|alps|tm|monitoring'
unwanted+='|buddy|ptmalloc|netlink|simulator|treematch|rsh'
components="$(path_of pkglibdir)"
for file in "$components"/mca_*.so; do
  name="$(basename "$file" .so)"
  if [[ "$name" =~ ^mca_[a-z]+_($unwanted)$ || "$name" =~ ^mca_(memheap|scoll|spml|sshmem|atomic|io|fs|fbtl|fcoll|sharedfp|vprotocol)_ ]]; then
    continue
  fi
  cp -L "$file" "$folder/mpi/lib/openmpi/"
  add_libraries "$file"
done
for name in mpirun orted; do
  cp -L "$(path_of bindir)/$name" "$folder/mpi/bin/$name"
  add_libraries "$folder/mpi/bin/$name"
done
cp "$(path_of pkgdatadir)"/help-*.txt "$folder/mpi/share/openmpi/"
cat >"$folder/mpi/etc/openmpi-mca-params.conf" <<'CONF'
btl = self,vader,tcp
mtl = ^ofi,psm,psm2
btl_base_warn_component_unused = 0
CONF
# PMIx: inside Open MPI or, on Debian, a library with components and texts of its own.
if [ -n "$pmix" ]; then
  for file in "$pmix"/pmix/pmix_mca_*.so; do
    if [[ "$file" == *slurm.so || ! -e "$file" ]]; then continue; fi
    cp -L "$file" "$folder/mpi/lib/pmix/"
    add_libraries "$file"
  done
  for texts in "$pmix/../share/pmix" "$pmix/../share"; do
    if compgen -G "$texts/help-p*.txt" >/dev/null; then cp "$texts"/help-*.txt "$folder/mpi/share/pmix/"; fi
  done
fi

needs() {  # GLIBC or GLIBCXX: the newest version of it that a file asks for
  find "$folder/bin" "$folder/lib" "$folder/mpi" -type f \( -perm -100 -o -name '*.so*' \) -exec readelf -V {} + 2>/dev/null |
    grep -o "Name: $1_[0-9.]*" | sed "s/.*_//" | sort -V | tail -n 1
}
mib() { du -sb "$@" | awk '{ sum += $1 } END { printf "%.1f", sum / 1048576 }'; }
echo "$folder: $(mib "$folder") MiB (programs $(mib "$folder/bin"), libraries $(mib "$folder/lib"), Open MPI $version $(mib "$folder/mpi"))"
echo "programs: $(cd "$folder/bin" && echo *)"
echo "needs LibTorch $(cat "$folder/libtorch-version") with CUDA, glibc $(needs GLIBC) and libstdc++ with GLIBCXX_$(needs GLIBCXX) or newer"
limit="${LIMIT_MIB:-60}"
if [ "$(du -sb "$folder" | cut -f1)" -ge $((limit << 20)) ]; then
  echo "pack.sh: that is not below $limit MiB: name fewer programs, or build for fewer GPUs (-DCMAKE_CUDA_ARCHITECTURES). The largest files:" >&2
  find "$folder" -type f -printf '%s %P\n' | sort -rn | head -5 >&2
  exit 1
fi
