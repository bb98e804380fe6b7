// Updates a model's weights from its flat gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "comm/flat_collective.h"
#include "model/transformer.h"
#include "student/train_config.h"

namespace temper {

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
  at::Tensor moments_;  // (2, sum of the parts)
  std::vector<Group> groups_;
};

}  // namespace temper
