// The loss of distillation and its gradient, for a block of logits. Both are written out by hand,
// in one place and for any floating dtype, so that they can be checked against finite differences
// and used chunk by chunk without autograd.
#pragma once

#include <ATen/core/Tensor.h>

#include <boost/program_options/options_description.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/payload.h"
#include "comm/schedule.h"
#include "student/divergence.h"
#include "student/hidden_match.h"
#include "student/label_loss.h"
#include "student/token_choice.h"

namespace temper {

struct LossConfig {
  double alpha = 0.9;        ///< weight of the soft targets; 1 - alpha weighs the hard labels
  double temperature = 2.0;  ///< T of both softmaxes of the KL term; set from teacher.temperature
  /// What becomes of the ids that the payload topk leaves out: bucket (one entry with their whole
  /// mass, on both sides) or renormalise (the K entries are all there is).
  std::string tail = "bucket";
  std::string kind = "forward-kl";  ///< of the soft part: a Divergence
  double beta = 0.5;                ///< of kind jsd: weight of the teacher in the mixture
  HiddenMatchConfig hidden = {};    ///< beside it, for the payload hidden
  TokenChoiceConfig tokens = {};    ///< which tokens count
  LabelLossConfig labels = {};      ///< the part without a teacher
  /// alpha, beta and temperature over the steps of a run; nothing: as above at every step.
  std::optional<Schedule> alpha_schedule = std::nullopt;
  std::optional<Schedule> beta_schedule = std::nullopt;
  std::optional<Schedule> temperature_schedule = std::nullopt;

  /// Declares `loss.*`.
  void add_options(boost::program_options::options_description& options);
  /// Throws c10::ValueError naming the option.
  void validate() const;
  /// Refuses schedules whose places do not ascend in a run of `steps`. Throws likewise.
  void check_places(int64_t steps) const;
  /// Refuses a divergence that these soft targets do not determine. Throws c10::ValueError naming
  /// both options, the reason and the remedy.
  void check_payload(Payload payload) const;
  /// Refuses options of payloads that are none of `payloads`, those that the command works with;
  /// the last one is teacher.payload. Throws likewise.
  void check_used(const std::vector<Payload>& payloads) const;

  /// With alpha, beta and temperature of step `step` (0-based) in a run of `steps`.
  LossConfig at(int64_t step, int64_t steps) const;
};

/// Sums over the valid tokens of a block, nats. loss = alpha·T²·kl + (1 - alpha)·ce (tvd: T for
/// T²).
struct LossSums {
  double loss = 0;
  double kl = 0;      ///< Σ of the divergence of q and p_T, without T²; by default KL(q ‖ p_T)
  double ce = 0;      ///< Σ −log p_1(label)
  double hidden = 0;  ///< Σ of the matching of hidden states (hidden_match.h), without its weight
  int64_t tokens = 0;

  LossSums& operator+=(const LossSums& other);
};

/// Distillation loss of Hinton, Vinyals and Dean 2015 (arXiv 1503.02531):
///
///   L = Σ_tokens  alpha · T² · KL(q ‖ p_T) + (1 − alpha) · CE(label, p_1),
///   q = softmax(teacher / T),  p_T = softmax(logits / T),
///   dL/dlogits = alpha · T · (p_T − q) + (1 − alpha) · (p_1 − onehot(label)).
///
/// T² makes the soft part of the gradient independent of T to first order. The sum is not
/// normalised: the caller divides by the number of valid tokens of the global batch. Other
/// divergences take the place of KL(q ‖ p_T): divergence.h has their formulas.
///
/// With the payload full, or hidden once the teacher's head has made logits of it, q is exact. With
/// the others, KL and q above become
///
///   topk, bucket:       the divergence over K + 1 outcomes, the last of them the whole tail: a
///                       lower bound of the exact one (data processing inequality), zero where the
///                       student is its teacher. Biased only within the tail, whose mass q_tail is
///                       exact: the gradient of an id in it is the tail's times p_j/p_tail, so its
///                       share of the tail stays the student's own
///   topk, renormalise:  forward-kl only; q_k / Σ_top q on the K entries, 0 elsewhere: biased
///                       towards them by the factor 1/(1 − q_tail) (the way of most tools)
///   sample:             forward-kl only; q̂ = draws / n, whose expectation is q (Sparse Logit
///                       Sampling, Anshumann et al. 2025, arXiv 2503.16870), so the gradient's is
///                       exact; KL is estimated as −mean log p(draw) − H(q) and can be negative
///
/// CE(label, p_1) may be smoothed and tempered, and L have terms that need neither teacher nor
/// label: label_loss.h; alpha does not weigh these terms. `ce` of the sums stays that of the label
/// itself at T = 1.
///
/// logits (N, V) float32, float64, bfloat16 or float16 (computed in float; the fast exponential's
/// relative error is 2e-6): overwritten with dL/dlogits. teacher: soft targets of the N tokens
/// (full, topk or sample), or undefined: then the loss is the cross-entropy alone, whatever alpha
/// is. labels (N) int64 in [0, V). weights (N), or undefined: factors of each token's share of L
/// and its gradient; kl and ce are not weighed. A row with a NaN, an infinity that is not −∞, or
/// nothing but −∞ gives NaN. All tensors lie on one device.
LossSums distillation_loss_(at::Tensor& logits, const SoftTargets& teacher,
                            const at::Tensor& labels, const LossConfig& config,
                            const at::Tensor& weights = {});

/// The same, with each token's share of the sums written to `rows` (3, N) float64 on the logits'
/// device: loss, kl, ce. On a GPU it returns once the work is queued. `gradient` (N, V), contiguous
/// and like the logits, gets dL/dlogits in their stead, and they are left in no particular state;
/// it may be the very memory of the teacher's logits. Undefined: the logits.
void distillation_loss_rows_(at::Tensor& logits, const SoftTargets& teacher,
                             const at::Tensor& labels, const LossConfig& config,
                             const at::Tensor& weights, const at::Tensor& rows,
                             const at::Tensor& gradient = {});
/// The sums over such rows; waits for them.
LossSums sums_of(const at::Tensor& rows);

}  // namespace temper
