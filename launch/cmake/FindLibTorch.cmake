# LibTorch from a folder: an unpacked LibTorch, an installed PyTorch, or the wheel in the user's cache. LibTorch's own
# package file wants a CUDA toolkit even for CPU programs, so the targets are made here.
#
# Defines LibTorch::LibTorch (c10, torch_cpu and, with TEMPER_WITH_CUDA, c10_cuda, torch_cuda).
if(TEMPER_LIBTORCH)
  set(_candidates "${TEMPER_LIBTORCH}" "${TEMPER_LIBTORCH}/torch")
else()
  if(DEFINED ENV{XDG_CACHE_HOME})
    set(_cache "$ENV{XDG_CACHE_HOME}")
  else()
    set(_cache "$ENV{HOME}/.cache")
  endif()
  set(_candidates "${_cache}/temper/libtorch-2.11.0/torch")
endif()

string(REPLACE ";" ", " _looked_in "${_candidates}")
find_path(LibTorch_ROOT_DIR NAMES include/ATen/ATen.h PATHS ${_candidates} NO_DEFAULT_PATH NO_CACHE)
if(LibTorch_ROOT_DIR AND EXISTS "${LibTorch_ROOT_DIR}/include/torch/headeronly/version.h")
  file(STRINGS "${LibTorch_ROOT_DIR}/include/torch/headeronly/version.h" _line REGEX "define TORCH_VERSION \"")
elseif(LibTorch_ROOT_DIR AND EXISTS "${LibTorch_ROOT_DIR}/include/torch/csrc/api/include/torch/version.h")
  file(STRINGS "${LibTorch_ROOT_DIR}/include/torch/csrc/api/include/torch/version.h" _line REGEX "define TORCH_VERSION \"")
endif()
if(_line MATCHES "\"([0-9.]+)")
  set(LibTorch_VERSION "${CMAKE_MATCH_1}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch REQUIRED_VARS LibTorch_ROOT_DIR VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "looked in ${_looked_in}. Run launch/setup.sh, or give -DTEMPER_LIBTORCH=DIR.")
if(LibTorch_VERSION AND LibTorch_VERSION VERSION_LESS 2.6)
  message(FATAL_ERROR "LibTorch ${LibTorch_VERSION} in ${LibTorch_ROOT_DIR} is too old: temper needs 2.6 or newer")
endif()

function(_libtorch_part name)
  add_library(LibTorch::${name} SHARED IMPORTED)
  set_target_properties(LibTorch::${name} PROPERTIES
    IMPORTED_LOCATION "${LibTorch_ROOT_DIR}/lib/lib${name}.so"
    INTERFACE_INCLUDE_DIRECTORIES
      "${LibTorch_ROOT_DIR}/include;${LibTorch_ROOT_DIR}/include/torch/csrc/api/include")
endfunction()

if(NOT TARGET LibTorch::LibTorch)
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  _libtorch_part(c10)
  _libtorch_part(torch_cpu)
  target_link_libraries(LibTorch::LibTorch INTERFACE LibTorch::torch_cpu LibTorch::c10)
  # The wheel's libraries find their own neighbours when they run; the linker need not.
  target_link_options(LibTorch::LibTorch INTERFACE -Wl,--unresolved-symbols=ignore-in-shared-libs)
  target_compile_options(LibTorch::LibTorch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-psabi>)
  # at::parallel_for is a template: compiled without OpenMP it runs on one thread, and says nothing. The runtime must be the one
  # that LibTorch has loaded. The thread sanitizer cannot see into it; clang has another, and fuzzing runs on one thread.
  if(NOT TEMPER_SANITIZE MATCHES "thread|fuzzer")
    find_package(OpenMP REQUIRED COMPONENTS CXX)
    file(GLOB _openmp "${LibTorch_ROOT_DIR}/lib/libgomp*.so*")
    if(NOT _openmp)
      set(_openmp ${OpenMP_CXX_LIBRARIES})
    endif()
    target_compile_options(LibTorch::LibTorch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${OpenMP_CXX_FLAGS}>)
    target_link_libraries(LibTorch::LibTorch INTERFACE ${_openmp})
  endif()
  if(TEMPER_WITH_CUDA)
    find_package(CUDAToolkit 12 REQUIRED)
    _libtorch_part(c10_cuda)
    _libtorch_part(torch_cuda)
    # Nothing calls torch_cuda by name: it registers its kernels when it is loaded, so the linker must not drop it.
    target_link_libraries(LibTorch::LibTorch INTERFACE
      -Wl,--push-state,--no-as-needed LibTorch::torch_cuda LibTorch::c10_cuda -Wl,--pop-state CUDA::cudart)
  endif()
endif()
