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
      own_(own),
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

OptimizerState Optimizer::copy_state(const Shard& range, KeptMemory& memory) const {
  const at::NoGradGuard no_grad;
  OptimizerState state;
  state.updates = updates_;
  std::vector<at::Tensor> pieces;
  int64_t before = 0;  // of moments_
  for (const Shard& part : own_) {
    const Shard wanted = common(part, range);
    if (wanted.count > 0) {
      state.parts.push_back(wanted);
      if (adamw_)
        pieces.push_back(moments_.narrow(1, before + wanted.begin - part.begin, wanted.count));
    }
    before += part.count;
  }
  if (!adamw_) return state;
  int64_t total = 0;
  for (const Shard& part : state.parts) total += part.count;
  state.moments = memory.empty({2, total}, moments_.scalar_type());  // (2, total)
  int64_t at = 0;
  for (const at::Tensor& piece : pieces) {
    state.moments.narrow(1, at, piece.size(1)).copy_(piece);
    at += piece.size(1);
  }
  return state;
}

void Optimizer::restore(const std::vector<OptimizerState>& states) {
  const at::NoGradGuard no_grad;
  int64_t wanted = 0, found = 0, before = 0;
  for (const Shard& part : own_) wanted += part.count;
  for (const OptimizerState& state : states) {
    TORCH_CHECK_VALUE(state.updates == states.front().updates, "one part of the optimizer has ",
                      state.updates, " updates behind it, another ", states.front().updates);
    TORCH_CHECK_VALUE(state.moments.defined() == adamw_, "the optimizer's state is that of ",
                      adamw_ ? "sgd" : "adamw", ", --train.optimizer is ",
                      adamw_ ? "adamw" : "sgd");
  }
  for (const Shard& part : own_) {
    for (const OptimizerState& state : states) {
      int64_t at = 0;  // of state.moments
      for (const Shard& saved : state.parts) {
        const Shard both = common(part, saved);
        if (both.count > 0) {
          found += both.count;
          if (adamw_)
            moments_.narrow(1, before + both.begin - part.begin, both.count)
                .copy_(state.moments.narrow(1, at + both.begin - saved.begin, both.count));
        }
        at += saved.count;
      }
    }
    before += part.count;
  }
  TORCH_CHECK_VALUE(found == wanted, "the optimizer's state has ", found, " of the ", wanted,
                    " weights that this rank updates");
  updates_ = states.empty() ? 0 : states.front().updates;
  for (Group& group : groups_) {
    for (const at::Tensor& steps : group.steps) steps.fill_(updates_);
  }
}

void Optimizer::step(double learning_rate, double scale) {
  const at::NoGradGuard no_grad;
  ++updates_;
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
