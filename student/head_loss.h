// Output head and loss at once, in chunks of tokens: hidden states in, loss and gradients out.
// Neither the logits of a whole micro-batch nor their gradient exist at any time; the extra memory
// is that of one chunk.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "student/loss.h"

namespace temper {

/// hidden (N, C), the trunk's output in the compute dtype (no graph), head (V, C) master weights,
/// head_gradient (V, C) of the master's dtype: the head's gradient is added to it. labels (N) int64
/// with kIgnoredLabel where a token does not count. teacher: soft targets of the N tokens, or
/// undefined.
/// `chunk_tokens` rows are processed at a time; 0 chooses about 16 MiB of logits. Returns the sums
/// over valid tokens; writes dL/dhidden (N, C), zero where ignored, to `hidden_gradient`.
/// `between`, where given, is called after each matrix product, so that messages can progress.
LossSums head_loss(const at::Tensor& hidden, const at::Tensor& head,
                   const at::Tensor& head_gradient, const at::Tensor& labels,
                   const SoftTargets& teacher, const LossConfig& config,
                   at::Tensor& hidden_gradient, int64_t chunk_tokens = 0,
                   const std::function<void()>& between = {});

}  // namespace temper
