// How far a student's distribution is from its teacher's, and the gradient of that: one function
// for every divergence, over ids or over any outcomes into which ids are gathered.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace temper {

/// q is the teacher's distribution, p the student's, both at T:
///
///   forward-kl   Σ q log(q/p)                  (Hinton, Vinyals and Dean 2015, arXiv 1503.02531)
///   reverse-kl   Σ p log(p/q)                  (MiniLLM, Gu et al. 2024, arXiv 2306.08543)
///   jsd          β Σ q log(q/m) + (1−β) Σ p log(p/m),  m = βq + (1−β)p
///                                              (GKD, Agarwal et al. 2024, arXiv 2306.13649); β = 0
///                is forward-kl and β = 1 reverse-kl, the limits of jsd/β and jsd/(1−β)
///   tvd          ½ Σ |p − q|                   (f-distill, Wen et al. 2023, arXiv 2307.15190)
enum class Divergence { kForwardKl, kReverseKl, kJensenShannon, kTotalVariation };

const char* divergence_name(Divergence divergence);
/// Throws c10::ValueError naming --loss.kind and the known names.
Divergence divergence_from_name(const std::string& name);

/// What the divergence is multiplied by so that its gradient keeps its size from one T to another
/// (to first order in 1/T): T², and T for tvd, whose derivative does not shrink with p − q.
double temperature_factor(Divergence divergence, double temperature);

/// A divergence of a block of tokens.
struct DivergencePart {
  double value = 0;     ///< Σ over tokens, nats (tvd: a number from 0 to 1 a token)
  at::Tensor gradient;  // (N, O), of `value` by the student's logits/T: p·(g − Σ p·g), g = dD/dp
};

/// log_p, log_q (N, O), float32 or float64, each row a distribution; -inf is no probability. With
/// reverse-kl, where the teacher has no probability at all log q counts as -1e4. `beta` in [0, 1]
/// is that of jsd.
DivergencePart divergence_part(Divergence divergence, double beta, const at::Tensor& log_p,
                               const at::Tensor& log_q);

}  // namespace temper
