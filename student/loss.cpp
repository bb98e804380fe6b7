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
      "(biased only within the tail), or left out and the K renormalised (biased towards them)")(
      "loss.kind", po::value<std::string>(&kind)->default_value(kind)->value_name("KIND"),
      "divergence of the soft targets: forward-kl (any payload); reverse-kl, jsd or tvd (payloads "
      "full, hidden, and topk with its tail in a bucket)")(
      "loss.beta", po::value<double>(&beta)->default_value(beta)->value_name("B"),
      "weight of the teacher in the mixture of loss.kind jsd, 0 (forward-kl) to 1 (reverse-kl)");
}

void LossConfig::validate() const {
  TORCH_CHECK_VALUE(tail == "bucket" || tail == "renormalise", "--loss.tail is '", tail,
                    "': give bucket or renormalise");
  divergence_from_name(kind);
  TORCH_CHECK_VALUE(beta >= 0 && beta <= 1, "--loss.beta is ", beta, ": give a number from 0 to 1");
  TORCH_CHECK_VALUE(
      alpha >= 0 && alpha <= 1, "--loss.alpha is ", alpha,
      ": it weighs the soft targets against the hard labels; give a number from 0 to 1");
  TORCH_CHECK_VALUE(std::isfinite(temperature) && temperature > 0, "--teacher.temperature is ",
                    temperature,
                    ": a temperature must be a finite number above 0 (1 to 8 are usual)");
}

void LossConfig::check_payload(Payload payload) const {
  if (divergence_from_name(kind) == Divergence::kForwardKl) return;
  TORCH_CHECK_VALUE(
      payload != Payload::kSample, "--loss.kind ", kind,
      " with --teacher.payload sample: it needs the teacher's probability of every id "
      "that the student may choose, and draws tell only of those that were drawn; give "
      "--loss.kind forward-kl, or the payload hidden, full or topk");
  TORCH_CHECK_VALUE(
      payload != Payload::kTopk || tail == "bucket", "--loss.kind ", kind,
      " with --teacher.payload topk and --loss.tail renormalise: the ids beyond the K "
      "would count as impossible, and the loss be infinite; give --loss.tail bucket");
}

LossSums& LossSums::operator+=(const LossSums& other) {
  loss += other.loss;
  kl += other.kl;
  ce += other.ce;
  tokens += other.tokens;
  return *this;
}

namespace {

constexpr double kNone = -std::numeric_limits<double>::infinity();

// The soft part of a block: Σ of the divergence, and its gradient by logits/T (N, V).
using SoftPart = DivergencePart;

// log_p (N, V): the student's, at T.
SoftPart exact_part(const at::Tensor& log_p, const at::Tensor& teacher, const LossConfig& config) {
  const at::Tensor log_q =
      at::log_softmax(teacher.to(log_p.dtype()).div(config.temperature), 1);  // (N, V)
  return divergence_part(divergence_from_name(config.kind), config.beta, log_p, log_q);
}

// The K entries and the tail are K + 1 outcomes.
SoftPart bucket_part(const at::Tensor& log_p, const SoftTargets& teacher,
                     const LossConfig& config) {
  const int64_t entries = teacher.ids.size(1);
  const at::Tensor log_pk = log_p.gather(1, teacher.ids);                      // (N, K)
  const at::Tensor rest = log_p.scatter(1, teacher.ids, kNone);                // (N, V)
  const at::Tensor log_rest = at::logsumexp(rest, 1, /*keepdim=*/true);        // (N, 1)
  const at::Tensor log_tail = teacher.scalars.to(log_p.dtype()).unsqueeze(1);  // (N, 1)
  at::Tensor log_qk = teacher.values.to(log_p.dtype());                        // (N, K)
  // Rounded on the wire, the K no longer add up to exactly what the tail leaves.
  log_qk = log_qk - at::logsumexp(log_qk, 1, /*keepdim=*/true) + at::log1p(-log_tail.exp());
  SoftPart part = divergence_part(divergence_from_name(config.kind), config.beta,
                                  at::cat({log_pk, log_rest}, 1), at::cat({log_qk, log_tail}, 1));
  const at::Tensor of_tail = part.gradient.narrow(1, entries, 1);  // (N, 1)
  // Each id's share of the student's own tail; those of the K are written over.
  at::Tensor gradient = (log_p - log_rest).exp_().mul_(of_tail);  // (N, V)
  part.gradient = gradient.scatter_(1, teacher.ids, part.gradient.narrow(1, 0, entries));
  return part;
}

SoftPart renormalised_part(const at::Tensor& log_p, const SoftTargets& teacher) {
  const at::Tensor log_pk = log_p.gather(1, teacher.ids);                          // (N, K)
  const at::Tensor log_qk = at::log_softmax(teacher.values.to(log_p.dtype()), 1);  // (N, K)
  const at::Tensor qk = log_qk.exp();                                              // (N, K)
  const at::Tensor kl = at::where(qk > 0, qk * (log_qk - log_pk), 0.0);            // (N, K)
  return {kl.sum(at::kDouble).item<double>(), log_p.exp().scatter_add_(1, teacher.ids, -qk)};
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
      return exact_part(log_p, teacher.values, config);
    case Payload::kTopk:
      return config.tail == "bucket" ? bucket_part(log_p, teacher, config)
                                     : renormalised_part(log_p, teacher);
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
  const double factor = temperature_factor(divergence_from_name(config.kind), T);

  at::Tensor soft_gradient;
  if (soft > 0) {
    const SoftPart part = soft_part(at::log_softmax(logits / T, 1), teacher, config);
    sums.kl = part.value;
    soft_gradient = at::mul(part.gradient, soft * factor / T);  // (N, V)
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
  sums.loss = soft * factor * sums.kl + hard * sums.ce;
  return sums;
}

}  // namespace temper
