# NCCL from a CUDA toolkit, from NCCL_ROOT, or from the PyPI wheel beside LibTorch. Defines NCCL::NCCL.
set(_wheel "${LibTorch_ROOT_DIR}/../nvidia/nccl")
find_path(NCCL_INCLUDE_DIR NAMES nccl.h HINTS "${NCCL_ROOT}/include" "$ENV{NCCL_ROOT}/include" "${_wheel}/include"
          ${CUDAToolkit_INCLUDE_DIRS})
find_library(NCCL_LIBRARY NAMES nccl libnccl.so.2 HINTS "${NCCL_ROOT}/lib" "$ENV{NCCL_ROOT}/lib" "${_wheel}/lib"
             "${CUDAToolkit_LIBRARY_DIR}")
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(NCCL REQUIRED_VARS NCCL_LIBRARY NCCL_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install NCCL with the CUDA toolkit, or 'pip install nvidia-nccl-cu13==2.28.9', and give -DNCCL_ROOT=DIR")
if(NCCL_FOUND AND NOT TARGET NCCL::NCCL)
  add_library(NCCL::NCCL UNKNOWN IMPORTED)
  set_target_properties(NCCL::NCCL PROPERTIES IMPORTED_LOCATION "${NCCL_LIBRARY}"
                        INTERFACE_INCLUDE_DIRECTORIES "${NCCL_INCLUDE_DIR}")
endif()
