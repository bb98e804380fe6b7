#include "student/divergence.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <cmath>

namespace temper {

namespace {

// (N, O) -> (N) float64.
at::Tensor row_sums(const at::Tensor& terms) {
  return terms.sum(1, /*keepdim=*/false, at::kDouble);
}

// Σ a·(log a − log b), where 0 · log 0 counts as 0.  a = exp(log_a), all (N, O).
at::Tensor kl_terms(const at::Tensor& a, const at::Tensor& log_a, const at::Tensor& log_b) {
  return at::where(a > 0, a * (log_a - log_b), 0.0);
}

// p·(g − Σ p·g) for p·g (N, O).
at::Tensor through_softmax(const at::Tensor& p, const at::Tensor& pg) {
  return pg - p * pg.sum(1, /*keepdim=*/true);
}

DivergencePart forward_kl(const at::Tensor& log_p, const at::Tensor& log_q) {
  const at::Tensor q = log_q.exp();  // (N, O)
  return {row_sums(kl_terms(q, log_q, log_p)), log_p.exp().sub_(q)};
}

DivergencePart reverse_kl(const at::Tensor& log_p, const at::Tensor& log_q) {
  const at::Tensor p = log_p.exp();                                                    // (N, O)
  const at::Tensor terms = kl_terms(p, log_p, log_q.clamp_min(kLeastLogProbability));  // (N, O)
  return {row_sums(terms), through_softmax(p, terms)};
}

DivergencePart jensen_shannon(double beta, const at::Tensor& log_p, const at::Tensor& log_q) {
  const at::Tensor p = log_p.exp(), q = log_q.exp();  // (N, O)
  const at::Tensor log_m = at::logaddexp(log_q + std::log(beta), log_p + std::log1p(-beta));
  const at::Tensor of_p = kl_terms(p, log_p, log_m).mul_(1 - beta);  // (N, O)
  const at::Tensor of_q = kl_terms(q, log_q, log_m).mul_(beta);      // (N, O)
  return {row_sums(of_q) + row_sums(of_p), through_softmax(p, of_p)};
}

DivergencePart mixed(double beta, const at::Tensor& log_p, const at::Tensor& log_q) {
  const DivergencePart forward = forward_kl(log_p, log_q), reverse = reverse_kl(log_p, log_q);
  return {beta * forward.values + (1 - beta) * reverse.values,
          beta * forward.gradient + (1 - beta) * reverse.gradient};
}

DivergencePart total_variation(const at::Tensor& log_p, const at::Tensor& log_q) {
  const at::Tensor p = log_p.exp();                       // (N, O)
  const at::Tensor difference = p - log_q.exp();          // (N, O)
  const at::Tensor pg = p * difference.sign().mul_(0.5);  // (N, O)
  return {0.5 * row_sums(difference.abs()), through_softmax(p, pg)};
}

}  // namespace

double DivergencePart::sum() const { return values.sum().item<double>(); }

const char* divergence_name(Divergence divergence) {
  switch (divergence) {
    case Divergence::kForwardKl:
      return "forward-kl";
    case Divergence::kReverseKl:
      return "reverse-kl";
    case Divergence::kJensenShannon:
      return "jsd";
    case Divergence::kMixed:
      return "mixed";
    case Divergence::kTotalVariation:
      return "tvd";
  }
  return "unknown";
}

Divergence divergence_from_name(const std::string& name) {
  for (const Divergence divergence :
       {Divergence::kForwardKl, Divergence::kReverseKl, Divergence::kJensenShannon,
        Divergence::kMixed, Divergence::kTotalVariation}) {
    if (name == divergence_name(divergence)) return divergence;
  }
  TORCH_CHECK_VALUE(false, "--loss.kind is '", name,
                    "': give forward-kl, reverse-kl, jsd, mixed or tvd");
}

double temperature_factor(Divergence divergence, double temperature) {
  return divergence == Divergence::kTotalVariation ? temperature : temperature * temperature;
}

DivergencePart divergence_part(Divergence divergence, double beta, const at::Tensor& log_p,
                               const at::Tensor& log_q) {
  switch (divergence) {
    case Divergence::kForwardKl:
      return forward_kl(log_p, log_q);
    case Divergence::kReverseKl:
      return reverse_kl(log_p, log_q);
    case Divergence::kJensenShannon:
      if (beta == 0) return forward_kl(log_p, log_q);
      if (beta == 1) return reverse_kl(log_p, log_q);
      return jensen_shannon(beta, log_p, log_q);
    case Divergence::kMixed:
      if (beta == 0) return reverse_kl(log_p, log_q);
      if (beta == 1) return forward_kl(log_p, log_q);
      return mixed(beta, log_p, log_q);
    case Divergence::kTotalVariation:
      return total_variation(log_p, log_q);
  }
  TORCH_INTERNAL_ASSERT(false);
}

}  // namespace temper
