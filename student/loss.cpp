#include "student/loss.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <cmath>

namespace temper {

namespace po = boost::program_options;

void LossConfig::add_options(po::options_description& options) {
  options.add_options()(
      "loss.alpha", po::value<double>(&alpha)->default_value(alpha)->value_name("A"),
      "weight of the soft targets in the loss, 0 to 1; 1-A weighs the hard labels");
}

void LossConfig::validate() const {
  TORCH_CHECK_VALUE(
      alpha >= 0 && alpha <= 1, "--loss.alpha is ", alpha,
      ": it weighs the soft targets against the hard labels; give a number from 0 to 1");
  TORCH_CHECK_VALUE(std::isfinite(temperature) && temperature > 0, "--teacher.temperature is ",
                    temperature,
                    ": a temperature must be a finite number above 0 (1 to 8 are usual)");
}

LossSums& LossSums::operator+=(const LossSums& other) {
  loss += other.loss;
  kl += other.kl;
  ce += other.ce;
  tokens += other.tokens;
  return *this;
}

LossSums distillation_loss_(at::Tensor& logits, const at::Tensor& teacher, const at::Tensor& labels,
                            const LossConfig& config) {
  TORCH_INTERNAL_ASSERT(logits.dim() == 2 && labels.dim() == 1 && labels.size(0) == logits.size(0));
  LossSums sums;
  sums.tokens = logits.size(0);
  const at::Tensor index = labels.unsqueeze(1);  // (N, 1)
  const double T = config.temperature;
  const double soft = teacher.defined() ? config.alpha : 0.0;
  const double hard = 1.0 - soft;

  at::Tensor soft_gradient;
  if (soft > 0) {
    const at::Tensor log_p = at::log_softmax(logits / T, 1);                         // (N, V)
    const at::Tensor log_q = at::log_softmax(teacher.to(logits.dtype()).div(T), 1);  // (N, V)
    const at::Tensor q = log_q.exp();                                                // (N, V)
    // A teacher may give no probability at all to an id: 0 · log 0 counts as 0.
    sums.kl = at::where(q > 0, q * (log_q - log_p), 0.0).sum(at::kDouble).item<double>();
    soft_gradient = log_p.exp().sub_(q).mul_(soft * T);  // (N, V)
  }
  // The hard part is computed even where it has no weight: its value is reported.
  const at::Tensor log_p1 = at::log_softmax(logits, 1);  // (N, V)
  sums.ce = -log_p1.gather(1, index).sum(at::kDouble).item<double>();
  if (hard > 0) {
    at::exp_out(logits, log_p1);
    logits.scatter_add_(1, index, at::full_like(index, -1, logits.options()));
    if (hard != 1.0) logits.mul_(hard);
    if (soft > 0) logits.add_(soft_gradient);
  } else {
    logits.copy_(soft_gradient);
  }
  sums.loss = soft * T * T * sums.kl + hard * sums.ce;
  return sums;
}

}  // namespace temper
