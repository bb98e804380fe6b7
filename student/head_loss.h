// Output head and loss at once, in chunks of tokens: hidden states in, loss and gradients out.
// The student's logits of a whole micro-batch never exist, nor does memory for their gradient; the
// extra memory is that of one chunk, at most 64 MiB (256 on a GPU) whatever N is.
//
// Each chunk's product for the head's gradient reads and writes all of it, which on a GPU takes as
// long as a good part of the product. Where the teacher's logits of all tokens lie in memory anyway
// and are not needed again, the gradient by the student's logits takes their place, and one product
// serves for all tokens (overwrite_teacher).
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "student/loss.h"

namespace temper {

/// Buffers of a chunk, kept from call to call so that a steady state allocates none.
struct HeadLossWorkspace {
  at::Tensor logits;   // (n, V) of the compute dtype
  at::Tensor teacher;  // (n, V) of the teacher's dtype, for the payload hidden
  at::Tensor head;     // of add_weight_gradient()
};

struct HeadLossOptions {
  int64_t chunk_tokens = 0;  ///< processed at a time; 0 chooses
  at::Tensor weights = {};   // (N): factors of each token's loss (loss.h), or undefined
  HeadLossWorkspace* workspace = nullptr;  /// null: buffers of this call alone
  /// The caller is done with the soft targets: where they are logits (payload full) of the hidden
  /// states' dtype and contiguous, their memory is written over, and what is in it afterwards is
  /// not to be read. Nothing else may look at this memory, on any stream, until the work that the
  /// call has queued is done. Other soft targets are left as they are. Where some labels do not
  /// count, memory for the others' hidden states and their gradient is taken once more.
  bool overwrite_teacher = false;
  /// Called after each matrix product, so that messages can progress.
  std::function<void()> between = {};
};

/// hidden (N, C), the trunk's output in the compute dtype (no graph), head (V, C) weights in the
/// compute dtype or as masters (cast then, at the cost of a copy), head_gradient (V, C) float32 or
/// float64: the head's gradient is added to it. labels (N) int64 with kIgnoredLabel where a token
/// does not count. teacher: soft targets of the N tokens, or undefined. Returns the sums over valid
/// tokens; writes dL/dhidden (N, C), zero where ignored, to `hidden_gradient`.
LossSums head_loss(const at::Tensor& hidden, const at::Tensor& head,
                   const at::Tensor& head_gradient, const at::Tensor& labels,
                   const SoftTargets& teacher, const LossConfig& config,
                   at::Tensor& hidden_gradient, const HeadLossOptions& options = {});

}  // namespace temper
