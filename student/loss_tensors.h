// What loss.h defines, by LibTorch's own operations on whole matrices: for devices that have no
// kernel, and for the tests to compare the kernel with.
#pragma once

#include <ATen/core/Tensor.h>

#include "student/loss.h"

namespace temper {

/// As distillation_loss_rows_() and distillation_loss_(), for any device.
void tensor_loss_rows_(at::Tensor& logits, const SoftTargets& teacher, const at::Tensor& labels,
                       const LossConfig& config, const at::Tensor& weights, const at::Tensor& rows);
LossSums tensor_loss_(at::Tensor& logits, const SoftTargets& teacher, const at::Tensor& labels,
                      const LossConfig& config, const at::Tensor& weights = {});

}  // namespace temper
