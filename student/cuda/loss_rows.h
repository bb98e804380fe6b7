// The kernel of loss_rows.h on a GPU, where the build has CUDA, and else a twin that says so.
#pragma once

#include <ATen/core/Tensor.h>

#include "student/loss_rows.h"

namespace temper {

/// Whether queue_cuda_loss_rows() serves for rows of so many sparse entries.
bool has_cuda_loss_rows(int64_t entries);

/// As compute_loss_rows(), for arrays on the GPU `device`, on its current stream; returns once the
/// work is queued. `teacher` must have the dtype of `logits`, or float32 where these are narrower.
/// Logits of more than 1.8e8·T have no place in its exponents: below they are −∞, above no number.
void queue_cuda_loss_rows(const LossRows& block, at::Device device);

}  // namespace temper
