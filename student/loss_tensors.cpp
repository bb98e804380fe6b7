#include "student/loss_tensors.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <limits>

namespace temper {

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
  return {kl.sum(1, /*keepdim=*/false, at::kDouble), log_p.exp().scatter_add_(1, teacher.ids, -qk)};
}

SoftPart sample_part(const at::Tensor& log_p, const SoftTargets& teacher) {
  const double weight = 1.0 / static_cast<double>(teacher.ids.size(1));
  const at::Tensor cross_entropy =
      log_p.gather(1, teacher.ids).sum(1, /*keepdim=*/false, at::kDouble) * -weight;  // (N)
  const at::Tensor entropy = teacher.scalars.to(at::kDouble);                         // (N)
  at::Tensor difference = log_p.exp();                                                // (N, V)
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

// label_loss.h: values, and the gradient by the logits. log_p1 (N, V): log softmax(logits);
// `weight` is the cross-entropy's.
DivergencePart label_part(const at::Tensor& logits, const at::Tensor& log_p1,
                          const at::Tensor& index, const LabelLossConfig& config, double weight) {
  const auto sum = [](const at::Tensor& terms) {
    return terms.sum(1, /*keepdim=*/false, at::kDouble);  // (N)
  };
  const double tau = config.temperature, eps = config.smoothing;
  const at::Tensor log_p = tau == 1 ? log_p1 : at::log_softmax(logits / tau, 1);  // (N, V)
  const double factor = weight * config.factor();
  const double flat = eps / static_cast<double>(logits.size(1));
  at::Tensor values =
      log_p.gather(1, index).squeeze(1).to(at::kDouble) * (-factor * (1 - eps));  // (N)
  if (eps > 0) values = values - sum(log_p) * (factor * flat);
  at::Tensor gradient = log_p.exp().sub_(flat);  // (N, V)
  gradient.scatter_add_(1, index, at::full_like(index, eps - 1, logits.options()));
  gradient.mul_(factor / tau);
  if (config.confidence_penalty != 0) {
    const at::Tensor p = log_p1.exp();                              // (N, V)
    const at::Tensor terms = at::where(p > 0, p * log_p1, 0.0);     // (N, V)
    const at::Tensor entropy = -terms.sum(1, /*keepdim=*/true);     // (N, 1)
    gradient.add_(terms + p * entropy, config.confidence_penalty);  // (N, V)
    values = values + sum(terms) * config.confidence_penalty;
  }
  if (config.z_loss != 0) {
    const at::Tensor log_z = at::logsumexp(logits, 1, /*keepdim=*/true);  // (N, 1)
    gradient.add_(log_p1.exp() * log_z, 2 * config.z_loss);
    values = values + log_z.squeeze(1).to(at::kDouble).square() * config.z_loss;
  }
  return {values, gradient};
}

}  // namespace

void tensor_loss_rows_(at::Tensor& logits, const SoftTargets& teacher, const at::Tensor& labels,
                       const LossConfig& config, const at::Tensor& weights,
                       const at::Tensor& rows) {
  if (at::isReducedFloatingType(logits.scalar_type())) {  // softmaxes and sums need more
    at::Tensor wide = logits.to(at::kFloat);              // (N, V)
    tensor_loss_rows_(wide, teacher, labels, config, weights, rows);
    logits.copy_(wide);
    return;
  }
  const at::Tensor index = labels.unsqueeze(1);  // (N, 1)
  const double T = config.temperature;
  const double soft = teacher.defined() ? config.alpha : 0.0;
  const double hard = 1.0 - soft;
  const double factor = temperature_factor(divergence_from_name(config.kind), T);
  const at::Tensor of_token = weights.defined()
                                  ? weights.to(logits.device(), at::kDouble)
                                  : at::ones({logits.size(0)}, labels.options().dtype(at::kDouble));

  at::Tensor soft_values = at::zeros_like(of_token), soft_gradient;
  if (soft > 0) {
    const SoftPart part = soft_part(at::log_softmax(logits / T, 1), teacher, config);
    soft_values = part.values;                                  // (N)
    soft_gradient = at::mul(part.gradient, soft * factor / T);  // (N, V)
  }
  // Computed even where it has no weight: its value is reported.
  const at::Tensor log_p1 = at::log_softmax(logits, 1);                       // (N, V)
  const at::Tensor ce = -log_p1.gather(1, index).squeeze(1).to(at::kDouble);  // (N)
  const DivergencePart own = label_part(logits, log_p1, index, config.labels, hard);
  logits.copy_(own.gradient);
  if (soft > 0) logits.add_(soft_gradient);
  if (weights.defined()) logits.mul_(of_token.to(logits.dtype()).unsqueeze(1));

  rows[0].copy_((soft_values * (soft * factor) + own.values) * of_token);
  rows[1].copy_(soft_values);
  rows[2].copy_(ce);
}

LossSums tensor_loss_(at::Tensor& logits, const SoftTargets& teacher, const at::Tensor& labels,
                      const LossConfig& config, const at::Tensor& weights) {
  const at::Tensor rows =
      at::empty({3, logits.size(0)}, logits.options().dtype(at::kDouble));  // (3, N)
  tensor_loss_rows_(logits, teacher, labels, config, weights, rows);
  return sums_of(rows);
}

}  // namespace temper
