// The kernel of loss_rows.h on a GPU. No LibTorch headers here: nvcc reads this file.
#pragma once

#include <cuda_runtime_api.h>

#include "student/loss_rows.h"

namespace temper {

/// Most entries of a sparse row: their logits lie in a multiprocessor's shared memory.
constexpr int64_t kMostCudaEntries = 4096;

/// All rows of a block whose arrays lie on the current GPU; returns once the work is queued. The
/// teacher's logits are of the student's type, or float where that is narrower.
cudaError_t queue_loss_rows(const LossRows& block, cudaStream_t stream);

}  // namespace temper
