#include "student/optimizer.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace temper {

namespace {

Shard common(const Shard& a, const Shard& b) {
  const int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::min(a.begin + a.count, b.begin + b.count) - begin};
}

}  // namespace

Optimizer::Optimizer(Transformer& model, const TrainConfig& config, const std::vector<Shard>& own)
    : adamw_(config.optimizer == "adamw"),
      beta1_(config.beta1),
      beta2_(config.beta2),
      eps_(config.eps),
      groups_(2) {
  const at::NoGradGuard no_grad;
  int64_t total = 0;
  for (const Shard& part : own) total += part.count;
  if (adamw_) moments_ = at::zeros({2, total}, model.flat_weights().options());  // (2, total)
  groups_[1].weight_decay = config.weight_decay;
  int64_t before = 0;  // of moments_
  for (const Shard& part : own) {
    for (const Parameter& parameter : model.parameters()) {
      const Shard mine = common(part, {parameter.offset, parameter.value.numel()});
      if (mine.count <= 0) continue;
      Group& group = groups_[parameter.decays ? 1 : 0];
      group.weights.push_back(model.flat_weights().narrow(0, mine.begin, mine.count));
      group.gradients.push_back(model.flat_gradients().narrow(0, mine.begin, mine.count));
      if (!adamw_) continue;
      const int64_t at = before + mine.begin - part.begin;
      group.first_moments.push_back(moments_[0].narrow(0, at, mine.count));   // (count)
      group.second_moments.push_back(moments_[1].narrow(0, at, mine.count));  // (count)
      group.steps.push_back(at::zeros({}, moments_.options().dtype(at::kFloat)));
    }
    before += part.count;
  }
}

void Optimizer::step(double learning_rate, double scale) {
  const at::NoGradGuard no_grad;
  at::Tensor divisor;  // () what the fused kernel divides gradients by, in the same pass
  if (adamw_ && scale != 1.0)
    divisor = at::full({}, 1.0 / scale, moments_.options().dtype(at::kFloat));
  for (Group& group : groups_) {
    if (group.weights.empty()) continue;
    if (adamw_) {
      at::_foreach_add_(group.steps, 1);
      at::_fused_adamw_(group.weights, group.gradients, group.first_moments, group.second_moments,
                        {}, group.steps, learning_rate, beta1_, beta2_, group.weight_decay, eps_,
                        /*amsgrad=*/false, /*maximize=*/false,
                        divisor.defined() ? std::make_optional(divisor) : std::nullopt);
    } else {
      if (group.weight_decay > 0)
        at::_foreach_mul_(group.weights, 1.0 - learning_rate * group.weight_decay);
      at::_foreach_add_(group.weights, group.gradients, -learning_rate * scale);
    }
  }
}

}  // namespace temper
