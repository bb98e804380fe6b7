#include "student/optimizer.h"

#include <ATen/ATen.h>

namespace temper {

Optimizer::Optimizer(Transformer& model, const TrainConfig& config)
    : adamw_(config.optimizer == "adamw"),
      beta1_(config.beta1),
      beta2_(config.beta2),
      eps_(config.eps),
      groups_(2) {
  const at::NoGradGuard no_grad;
  if (adamw_)
    moments_ =
        at::zeros({2, model.flat_weights().numel()}, model.flat_weights().options());  // (2, P)
  groups_[1].weight_decay = config.weight_decay;
  for (const Parameter& parameter : model.parameters()) {
    Group& group = groups_[parameter.decays ? 1 : 0];
    const int64_t count = parameter.value.numel();
    group.weights.push_back(model.flat_weights().narrow(0, parameter.offset, count));  // (count)
    group.gradients.push_back(
        model.flat_gradients().narrow(0, parameter.offset, count));  // (count)
    if (!adamw_) continue;
    group.first_moments.push_back(moments_[0].narrow(0, parameter.offset, count));   // (count)
    group.second_moments.push_back(moments_[1].narrow(0, parameter.offset, count));  // (count)
    group.steps.push_back(at::zeros({}, moments_.options().dtype(at::kFloat)));
  }
}

void Optimizer::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  for (Group& group : groups_) {
    if (group.weights.empty()) continue;
    if (adamw_) {
      at::_foreach_add_(group.steps, 1);
      at::_fused_adamw_(group.weights, group.gradients, group.first_moments, group.second_moments,
                        {}, group.steps, learning_rate, beta1_, beta2_, group.weight_decay, eps_,
                        /*amsgrad=*/false, /*maximize=*/false);
    } else {
      if (group.weight_decay > 0)
        at::_foreach_mul_(group.weights, 1.0 - learning_rate * group.weight_decay);
      at::_foreach_add_(group.weights, group.gradients, -learning_rate);
    }
  }
}

}  // namespace temper
