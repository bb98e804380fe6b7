#include "student/loss.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <limits>

namespace temper {

namespace po = boost::program_options;

void LossConfig::add_options(po::options_description& options) {
  options.add_options()(
      "loss.alpha", po::value<double>(&alpha)->default_value(alpha)->value_name("A"),
      "weight of the soft targets in the loss, 0 to 1; 1-A weighs the hard labels")(
      "loss.tail",
      po::value<std::string>(&tail)->default_value(tail)->value_name("bucket|renormalise"),
      "with teacher.payload topk, the ids beyond the K likeliest: one entry with their exact mass "
      "(biased only within the tail), or left out and the K renormalised (biased towards them)");
}

void LossConfig::validate() const {
  TORCH_CHECK_VALUE(tail == "bucket" || tail == "renormalise", "--loss.tail is '", tail,
                    "': give bucket or renormalise");
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

namespace {

// The soft part of a block: Σ KL in nats, and p_T − q (N, V).
struct SoftPart {
  double kl = 0;
  at::Tensor difference;  // (N, V)
};

// log_p (N, V): the student's, at T.
SoftPart exact_part(const at::Tensor& log_p, const at::Tensor& teacher, double temperature) {
  const at::Tensor log_q =
      at::log_softmax(teacher.to(log_p.dtype()).div(temperature), 1);  // (N, V)
  const at::Tensor q = log_q.exp();                                    // (N, V)
  // A teacher may give no probability at all to an id: 0 · log 0 counts as 0.
  const at::Tensor kl = at::where(q > 0, q * (log_q - log_p), 0.0);  // (N, V)
  return {kl.sum(at::kDouble).item<double>(), log_p.exp().sub_(q)};
}

SoftPart topk_part(const at::Tensor& log_p, const SoftTargets& teacher, bool bucket) {
  const at::Tensor log_pk = log_p.gather(1, teacher.ids);                      // (N, K)
  at::Tensor log_qk = teacher.values.to(log_p.dtype());                        // (N, K)
  const at::Tensor log_tail = teacher.scalars.to(log_p.dtype()).unsqueeze(1);  // (N, 1)
  // Rounded on the wire, the K no longer add up to exactly what the tail leaves.
  const at::Tensor tail = log_tail.exp();                                        // (N, 1)
  const at::Tensor top_mass = bucket ? at::log1p(-tail) : at::zeros_like(tail);  // (N, 1)
  log_qk = log_qk - at::logsumexp(log_qk, 1, /*keepdim=*/true) + top_mass;       // (N, K)
  const at::Tensor qk = log_qk.exp();                                            // (N, K)
  at::Tensor kl = at::where(qk > 0, qk * (log_qk - log_pk), 0.0).sum(1);         // (N)
  if (!bucket) {
    const at::Tensor difference = log_p.exp().scatter_add_(1, teacher.ids, -qk);  // (N, V)
    return {kl.sum(at::kDouble).item<double>(), difference};
  }
  const double none = -std::numeric_limits<double>::infinity();
  const at::Tensor rest = log_p.scatter(1, teacher.ids, none);              // (N, V)
  const at::Tensor log_rest = at::logsumexp(rest, 1, /*keepdim=*/true);     // (N, 1)
  const at::Tensor has_tail = tail > 0;                                     // (N, 1)
  const at::Tensor ratio = at::where(has_tail, log_tail - log_rest, none);  // (N, 1)
  kl = kl + at::where(has_tail, tail * ratio, 0.0).squeeze(1);              // (N)
  // exp(log p + log(q_tail/p_tail)) instead of a product: the ratio alone may overflow.
  at::Tensor difference = log_p.exp() - (log_p + ratio).exp();  // (N, V)
  difference.scatter_(1, teacher.ids, log_pk.exp() - qk);
  return {kl.sum(at::kDouble).item<double>(), difference};
}

SoftPart sample_part(const at::Tensor& log_p, const SoftTargets& teacher) {
  const double weight = 1.0 / static_cast<double>(teacher.ids.size(1));
  const double cross_entropy =
      -weight * log_p.gather(1, teacher.ids).sum(at::kDouble).item<double>();
  const double entropy = teacher.scalars.sum(at::kDouble).item<double>();
  at::Tensor difference = log_p.exp();  // (N, V)
  difference.scatter_add_(1, teacher.ids, at::full_like(teacher.ids, -weight, log_p.options()));
  return {cross_entropy - entropy, difference};
}

SoftPart soft_part(const at::Tensor& log_p, const SoftTargets& teacher, const LossConfig& config) {
  switch (teacher.kind) {
    case Payload::kFull:
      return exact_part(log_p, teacher.values, config.temperature);
    case Payload::kTopk:
      return topk_part(log_p, teacher, config.tail == "bucket");
    case Payload::kSample:
      return sample_part(log_p, teacher);
    case Payload::kHidden:
      break;
  }
  TORCH_INTERNAL_ASSERT(false, "hidden states are no soft targets without the teacher's head");
}

}  // namespace

LossSums distillation_loss_(at::Tensor& logits, const SoftTargets& teacher,
                            const at::Tensor& labels, const LossConfig& config) {
  TORCH_INTERNAL_ASSERT(logits.dim() == 2 && labels.dim() == 1 && labels.size(0) == logits.size(0));
  LossSums sums;
  sums.tokens = logits.size(0);
  const at::Tensor index = labels.unsqueeze(1);  // (N, 1)
  const double T = config.temperature;
  const double soft = teacher.defined() ? config.alpha : 0.0;
  const double hard = 1.0 - soft;

  at::Tensor soft_gradient;
  if (soft > 0) {
    const SoftPart part = soft_part(at::log_softmax(logits / T, 1), teacher, config);
    sums.kl = part.kl;
    soft_gradient = at::mul(part.difference, soft * T);  // (N, V)
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
