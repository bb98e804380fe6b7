// Updates a model's weights from its flat gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "comm/flat_collective.h"
#include "model/kept_memory.h"
#include "model/transformer.h"
#include "student/train_config.h"

namespace temper {

/// What an optimizer has learnt, of some parts of the flat buffers.
struct OptimizerState {
  int64_t updates = 0;  ///< so far, of every part
  std::vector<Shard> parts;
  at::Tensor moments;  ///< (2, sum of the parts) on the CPU; undefined: plain SGD has none
};

class Optimizer {
 public:
  /// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) by LibTorch's fused kernel, moments in
  /// fp32; or plain SGD. Weight decay applies to the parameters that say so. The model must have
  /// gradients and outlive the optimizer. Only the parts `own` of the flat buffers are updated, and
  /// only these have moments (ZeRO-1, Rajbhandari et al. 2020, arXiv 1910.02054). A weight's update
  /// has the same bits whichever parts are whose, as long as they are cut at the same places.
  Optimizer(Transformer& model, const TrainConfig& config, const std::vector<Shard>& own);

  /// One update with this learning rate by the gradient times `scale`, more than 0. What the
  /// gradient's buffer holds afterwards is nobody's.
  void step(double learning_rate, double scale = 1.0);

  /// A copy of the state in `memory`, as far as it lies in `range`.
  OptimizerState copy_state(const Shard& range, KeptMemory& memory) const;

  /// Takes its own parts out of `states`, however they are cut. Throws c10::ValueError where they
  /// do not cover them, or do not belong together.
  void restore(const std::vector<OptimizerState>& states);

  /// Bytes of the moments.
  int64_t state_bytes() const {
    return moments_.defined() ? static_cast<int64_t>(moments_.nbytes()) : 0;
  }

 private:
  struct Group {
    double weight_decay = 0;
    std::vector<at::Tensor> weights, gradients, first_moments, second_moments, steps;
  };
  bool adamw_;
  double beta1_, beta2_, eps_;
  int64_t updates_ = 0;
  std::vector<Shard> own_;
  at::Tensor moments_;  // (2, sum of the parts)
  std::vector<Group> groups_;
};

}  // namespace temper
