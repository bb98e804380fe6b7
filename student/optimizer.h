// Updates a model's weights from its flat gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "model/transformer.h"
#include "student/train_config.h"

namespace temper {

class Optimizer {
 public:
  /// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) by LibTorch's fused kernel, moments in
  /// fp32; or plain SGD. Weight decay applies to the parameters that say so. The model must have
  /// gradients and outlive the optimizer.
  Optimizer(Transformer& model, const TrainConfig& config);

  /// One update with this learning rate.
  void step(double learning_rate);

  /// Bytes of state per weight.
  int64_t state_bytes_per_weight() const { return adamw_ ? 8 : 0; }

 private:
  struct Group {
    double weight_decay = 0;
    std::vector<at::Tensor> weights, gradients, first_moments, second_moments, steps;
  };
  bool adamw_;
  double beta1_, beta2_, eps_;
  at::Tensor moments_;  // (2, P)
  std::vector<Group> groups_;
};

}  // namespace temper
