#include "student/head_loss.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "data/corpus.h"

namespace temper {

LossSums head_loss(const at::Tensor& hidden, const at::Tensor& head,
                   const at::Tensor& head_gradient, const at::Tensor& labels,
                   const SoftTargets& teacher, const LossConfig& config,
                   at::Tensor& hidden_gradient, int64_t chunk_tokens,
                   const std::function<void()>& between) {
  const at::NoGradGuard no_grad;
  const at::ScalarType compute = hidden.scalar_type();
  // Softmaxes and sums need more than 16 bits; float64 stays as it is (for finite differences).
  const at::ScalarType wide = compute == at::kDouble ? at::kDouble : at::kFloat;
  const int64_t vocab = head.size(0);
  if (chunk_tokens == 0) chunk_tokens = std::max<int64_t>(16, (int64_t{4} << 20) / vocab);

  const at::Tensor weight = head.detach().to(compute);                      // (V, C)
  const at::Tensor valid = (labels != kIgnoredLabel).nonzero().squeeze(1);  // (valid)
  const bool all_valid = valid.numel() == labels.numel();
  hidden_gradient = all_valid ? at::empty_like(hidden) : at::zeros_like(hidden);  // (N, C)

  const auto pulse = [&] {
    if (between) between();
  };
  LossSums sums;
  for (int64_t begin = 0; begin < valid.numel(); begin += chunk_tokens) {
    const int64_t n = std::min(chunk_tokens, valid.numel() - begin);
    const at::Tensor rows = valid.narrow(0, begin, n);  // (n)
    const auto pick = [&](const at::Tensor& from) {
      return all_valid ? from.narrow(0, begin, n) : from.index_select(0, rows);
    };
    SoftTargets soft = all_valid ? teacher.narrow(begin, n) : teacher.select(rows);
    if (soft.kind == Payload::kHidden && soft.defined()) {
      soft = SoftTargets::of_logits(at::mm(soft.values, soft.head.t()));  // (n, V)
      pulse();
    }
    const at::Tensor h = pick(hidden);                   // (n, C)
    at::Tensor logits = at::mm(h, weight.t()).to(wide);  // (n, V)
    pulse();
    sums += distillation_loss_(logits, soft, pick(labels), config);
    pulse();
    const at::Tensor gradient = logits.to(compute);  // (n, V)
    const at::Tensor dh = at::mm(gradient, weight);  // (n, C)
    pulse();
    if (all_valid) {
      hidden_gradient.narrow(0, begin, n).copy_(dh);
    } else {
      hidden_gradient.index_copy_(0, rows, dh);
    }
    if (compute == head_gradient.scalar_type()) {
      head_gradient.addmm_(gradient.t(), h);  // (V, C)
    } else {
      head_gradient.add_(at::mm(gradient.t(), h));  // (V, C)
    }
    pulse();
  }
  return sums;
}

}  // namespace temper
