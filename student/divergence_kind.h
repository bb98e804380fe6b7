// The divergences by name. Apart from divergence.h so that kernels can name them without LibTorch's
// headers.
#pragma once

#include <cstdint>

namespace temper {

/// q is the teacher's distribution, p the student's, both at T:
///
///   forward-kl   Σ q log(q/p)                  (Hinton, Vinyals and Dean 2015, arXiv 1503.02531)
///   reverse-kl   Σ p log(p/q)                  (MiniLLM, Gu et al. 2024, arXiv 2306.08543)
///   jsd          β Σ q log(q/m) + (1−β) Σ p log(p/m),  m = βq + (1−β)p
///                                              (GKD, Agarwal et al. 2024, arXiv 2306.13649); β = 0
///                is forward-kl and β = 1 reverse-kl, the limits of jsd/β and jsd/(1−β)
///   mixed        β Σ q log(q/p) + (1−β) Σ p log(p/q)   (as Wu et al. 2024, arXiv 2404.02657, with
///   a
///                fixed β; β = ½ is half of Jeffreys' divergence)
///   tvd          ½ Σ |p − q|                   (f-distill, Wen et al. 2023, arXiv 2307.15190)
enum class Divergence : uint8_t { kForwardKl, kReverseKl, kJensenShannon, kMixed, kTotalVariation };

/// Where reverse-kl or mixed meets an id to which the teacher gives no probability, log q counts as
/// this.
constexpr double kLeastLogProbability = -1e4;

}  // namespace temper
