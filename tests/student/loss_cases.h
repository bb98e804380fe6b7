// Every kind of soft target and divergence, for the tests of the loss's kernels.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <string>
#include <vector>

#include "student/loss.h"

namespace temper {

struct LossCase {
  const char* name;
  Payload payload;
  const char* kind;
  double beta;
  const char* tail;

  LossConfig config(double alpha, double temperature, double smoothing) const {
    LossConfig config{alpha, temperature};
    config.kind = kind;
    config.beta = beta;
    config.tail = tail;
    config.labels.smoothing = smoothing;
    return config;
  }
};

inline const std::vector<LossCase>& loss_cases() {
  static const std::vector<LossCase> cases = {
      {"forward", Payload::kFull, "forward-kl", 0.5, "bucket"},
      {"reverse", Payload::kFull, "reverse-kl", 0.5, "bucket"},
      {"jsd", Payload::kFull, "jsd", 0.3, "bucket"},
      {"jsd0", Payload::kFull, "jsd", 0.0, "bucket"},
      {"jsd1", Payload::kFull, "jsd", 1.0, "bucket"},
      {"mixed", Payload::kFull, "mixed", 0.3, "bucket"},
      {"mixed0", Payload::kFull, "mixed", 0.0, "bucket"},
      {"mixed1", Payload::kFull, "mixed", 1.0, "bucket"},
      {"tvd", Payload::kFull, "tvd", 0.5, "bucket"},
      {"bucket", Payload::kTopk, "forward-kl", 0.5, "bucket"},
      {"bucket_reverse", Payload::kTopk, "reverse-kl", 0.5, "bucket"},
      {"bucket_jsd", Payload::kTopk, "jsd", 0.7, "bucket"},
      {"bucket_mixed", Payload::kTopk, "mixed", 0.6, "bucket"},
      {"bucket_tvd", Payload::kTopk, "tvd", 0.5, "bucket"},
      {"renormalise", Payload::kTopk, "forward-kl", 0.5, "renormalise"},
      {"draws", Payload::kSample, "forward-kl", 0.5, "bucket"}};
  return cases;
}

/// |value − right| / |right|, over all elements, in double on the CPU.
inline double relative_error(const at::Tensor& value, const at::Tensor& right) {
  return ((value.cpu().to(at::kDouble) - right).norm() / right.norm()).item<double>();
}

/// Soft targets of the teacher's logits (N, V), at T.
inline SoftTargets soft_targets_of(Payload kind, const at::Tensor& teacher, double temperature) {
  if (kind == Payload::kFull) return SoftTargets::of_logits(teacher);
  const at::Tensor log_q = at::log_softmax(teacher.to(at::kDouble) / temperature, 1);  // (N, V)
  SoftTargets soft;
  soft.kind = kind;
  if (kind == Payload::kTopk) {
    const auto [values, ids] = at::topk(log_q, 16, 1);
    soft.values = values;
    soft.ids = ids;
    soft.scalars = at::logsumexp(log_q.scatter(1, ids, -HUGE_VAL), 1);
  } else {
    soft.ids = at::multinomial(log_q.exp(), 40, /*replacement=*/true);
    soft.scalars = -(log_q.exp() * log_q).sum(1);
  }
  return soft;
}

}  // namespace temper
