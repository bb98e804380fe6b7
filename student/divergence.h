// How far a student's distribution is from its teacher's, and the gradient of that: one function
// for every divergence, over ids or over any outcomes into which ids are gathered.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "student/divergence_kind.h"

namespace temper {

const char* divergence_name(Divergence divergence);
/// Throws c10::ValueError naming --loss.kind and the known names.
Divergence divergence_from_name(const std::string& name);

/// What the divergence is multiplied by so that its gradient keeps its size from one T to another
/// (to first order in 1/T): T², and T for tvd, whose derivative does not shrink with p − q.
double temperature_factor(Divergence divergence, double temperature);

/// A divergence of a block of tokens.
struct DivergencePart {
  at::Tensor values;  // (N) float64, nats (tvd: numbers from 0 to 1)
  at::Tensor gradient;  // (N, O), of the values by the student's logits/T: p·(g − Σ p·g), g = dD/dp

  double sum() const;
};

/// log_p, log_q (N, O), float32 or float64, each row a distribution; -inf is no probability. With
/// reverse-kl, where the teacher has no probability at all log q counts as -1e4. `beta` in [0, 1]
/// is that of jsd.
DivergencePart divergence_part(Divergence divergence, double beta, const at::Tensor& log_p,
                               const at::Tensor& log_q);

}  // namespace temper
