#include "student/cuda/loss_rows.h"

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "student/cuda/loss_rows_kernel.h"

namespace temper {

bool has_cuda_loss_rows(int64_t entries) { return entries <= kMostCudaEntries; }

void queue_cuda_loss_rows(const LossRows& block, at::Device device) {
  const c10::cuda::CUDAGuard guard(device);
  C10_CUDA_CHECK(queue_loss_rows(block, c10::cuda::getCurrentCUDAStream(device.index())));
}

}  // namespace temper
