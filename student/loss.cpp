#include "student/loss.h"

#include <ATen/ATen.h>
#include <ATen/OpMathType.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "student/cuda/loss_rows.h"
#include "student/loss_rows.h"
#include "student/loss_tensors.h"

namespace temper {

namespace po = boost::program_options;

namespace {

/// Whether a divergence has a loss.beta.
bool uses_beta(Divergence divergence) {
  return divergence == Divergence::kJensenShannon || divergence == Divergence::kMixed;
}

/// An option that is a number or a schedule.
po::typed_value<std::string>* scheduled(const char* option, const char* value_name, double& number,
                                        std::optional<Schedule>& schedule) {
  return po::value<std::string>()
      ->default_value(Schedule(number).text())
      ->value_name(value_name)
      ->notifier([option, &number, &schedule](const std::string& text) {
        schedule = Schedule::parse(text, option);
        number = schedule->value(0, 2);  // the first step's: at() has the others
      });
}

std::string with_forms(const std::string& help, const std::string& value_name) {
  return help + ". " + value_name + " is " + kScheduleForms;
}

}  // namespace

void LossConfig::add_options(po::options_description& options) {
  options.add_options()(
      "loss.alpha", scheduled("loss.alpha", "A", alpha, alpha_schedule),
      with_forms("weight of the soft targets in the loss, 0 to 1; 1-A weighs the hard labels", "A")
          .c_str())(
      "loss.tail",
      po::value<std::string>(&tail)->default_value(tail)->value_name("bucket|renormalise"),
      "with teacher.payload topk, the ids beyond the K likeliest: one entry with their exact mass "
      "(biased only within the tail), or left out and the K renormalised (biased towards them)")(
      "loss.kind", po::value<std::string>(&kind)->default_value(kind)->value_name("KIND"),
      "divergence of the soft targets: forward-kl (any payload); reverse-kl, jsd, mixed or tvd "
      "(payloads "
      "full, hidden, and topk with its tail in a bucket)")(
      "loss.beta", scheduled("loss.beta", "B", beta, beta_schedule),
      with_forms("of loss.kind jsd: weight of the teacher in the mixture, 0 (forward-kl) to 1 "
                 "(reverse-kl), a schedule strictly between them (0.05 to 0.95, say); "
                 "of mixed: weight of forward-kl, the rest is reverse-kl's",
                 "B")
          .c_str());
  hidden.add_options(options);
  labels.add_options(options);
  tokens.add_options(options);
}

void LossConfig::validate() const {
  TORCH_CHECK_VALUE(tail == "bucket" || tail == "renormalise", "--loss.tail is '", tail,
                    "': give bucket or renormalise");
  const Divergence divergence = divergence_from_name(kind);
  const Schedule betas = beta_schedule.value_or(beta), alphas = alpha_schedule.value_or(alpha),
                 temperatures = temperature_schedule.value_or(temperature);
  TORCH_CHECK_VALUE(betas.lowest() >= 0 && betas.highest() <= 1, "--loss.beta is ", betas.text(),
                    ": give a number from 0 to 1");
  const double usual_beta = LossConfig().beta;
  TORCH_CHECK_VALUE(
      uses_beta(divergence) || (betas.lowest() == usual_beta && betas.highest() == usual_beta),
      "--loss.beta is ", betas.text(), " with --loss.kind ", kind,
      ", where it has no effect: give --loss.kind jsd or mixed, or --loss.beta ", usual_beta);
  // Near an end jsd is about beta (or 1 - beta) times the KL that stands for it at the very end.
  TORCH_CHECK_VALUE(
      divergence != Divergence::kJensenShannon || !betas.changes() ||
          (betas.lowest() > 0 && betas.highest() < 1),
      "--loss.beta is ", betas.text(),
      " with --loss.kind jsd: at 0 and 1 it is the plain KL, many times what it is just beside "
      "them, so that the loss would jump; give a schedule strictly between them (0.05 to 0.95, "
      "say), or --loss.kind mixed");
  hidden.validate();
  labels.validate();
  tokens.validate();
  TORCH_CHECK_VALUE(
      alphas.lowest() >= 0 && alphas.highest() <= 1, "--loss.alpha is ", alphas.text(),
      ": it weighs the soft targets against the hard labels; give a number from 0 to 1");
  TORCH_CHECK_VALUE(std::isfinite(temperatures.highest()) && temperatures.lowest() > 0,
                    "--teacher.temperature is ", temperatures.text(),
                    ": a temperature must be a finite number above 0 (1 to 8 are usual)");
}

void LossConfig::check_places(int64_t steps) const {
  if (alpha_schedule) alpha_schedule->check_places(steps, "loss.alpha");
  if (beta_schedule) beta_schedule->check_places(steps, "loss.beta");
  if (temperature_schedule) temperature_schedule->check_places(steps, "teacher.temperature");
}

LossConfig LossConfig::at(int64_t step, int64_t steps) const {
  LossConfig now = *this;
  if (alpha_schedule) now.alpha = alpha_schedule->value(step, steps);
  if (beta_schedule) now.beta = beta_schedule->value(step, steps);
  if (temperature_schedule) now.temperature = temperature_schedule->value(step, steps);
  return now;
}

void LossConfig::check_payload(Payload payload) const {
  TORCH_CHECK_VALUE(hidden.weight == 0 || payload == Payload::kHidden, "--loss.hidden-weight is ",
                    hidden.weight, " with --teacher.payload ", payload_name(payload),
                    ": the teacher's hidden states come with --teacher.payload hidden alone");
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

void LossConfig::check_used(const std::vector<Payload>& payloads) const {
  const std::string usual = LossConfig().tail;
  const bool has_tail =
      std::find(payloads.begin(), payloads.end(), Payload::kTopk) != payloads.end();
  TORCH_CHECK_VALUE(has_tail || tail == usual, "--loss.tail is ", tail, " with --teacher.payload ",
                    payload_name(payloads.back()),
                    ", where it has no effect: give --teacher.payload topk, or --loss.tail ",
                    usual);
}

LossSums& LossSums::operator+=(const LossSums& other) {
  loss += other.loss;
  kl += other.kl;
  ce += other.ce;
  hidden += other.hidden;
  tokens += other.tokens;
  return *this;
}

namespace {

std::optional<ValueDtype> value_dtype(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return ValueDtype::kFloat;
    case at::kDouble:
      return ValueDtype::kDouble;
    case at::kBFloat16:
      return ValueDtype::kBFloat16;
    case at::kHalf:
      return ValueDtype::kHalf;
    default:
      return std::nullopt;
  }
}

SoftRows soft_rows(const SoftTargets& teacher, const LossConfig& config) {
  switch (teacher.kind) {
    case Payload::kFull:
      return SoftRows::kDense;
    case Payload::kTopk:
      return config.tail == "bucket" ? SoftRows::kBucket : SoftRows::kRenormalised;
    case Payload::kSample:
      return SoftRows::kDraws;
    case Payload::kHidden:
      break;
  }
  TORCH_INTERNAL_ASSERT(false, "hidden states are no soft targets without the teacher's head");
}

/// What a block says of its soft targets, and the tensors behind it.
struct SoftArrays {
  at::Tensor dense, ids, log_q, scalars;

  void describe(const SoftTargets& teacher, const at::Tensor& logits, const LossConfig& config,
                LossRows& block) {
    block.soft = soft_rows(teacher, config);
    if (block.soft == SoftRows::kDense) {
      dense = teacher.values.contiguous();  // (N, V)
      // The GPU's kernel reads the student's type, or the one that it computes in.
      if (dense.is_cuda() && dense.scalar_type() != logits.scalar_type())
        dense = dense.to(at::toOpMathType(logits.scalar_type()));
      TORCH_CHECK(value_dtype(dense.scalar_type()) && dense.sizes() == logits.sizes(),
                  "teacher's logits ", dense.sizes(), " for a student's ", logits.sizes());
      block.teacher = dense.const_data_ptr();
      block.teacher_dtype = *value_dtype(dense.scalar_type());
      return;
    }
    ids = teacher.ids.contiguous();  // (N, K)
    block.ids = ids.const_data_ptr<int64_t>();
    block.entries = ids.size(1);
    if (block.soft != SoftRows::kDraws) {
      log_q = teacher.values.to(at::kDouble).contiguous();  // (N, K)
      block.log_q = log_q.const_data_ptr<double>();
    }
    scalars = teacher.scalars.to(at::kDouble).contiguous();  // (N)
    block.scalars = scalars.const_data_ptr<double>();
  }
};

}  // namespace

LossSums sums_of(const at::Tensor& rows) {
  const at::Tensor own = rows.cpu().contiguous();  // (3, N)
  const int64_t tokens = own.size(1);
  const double* row = own.const_data_ptr<double>();
  // In their order, whatever computed them: the same bits for any number of threads.
  const auto sum = [&](int64_t which) {
    return std::accumulate(row + which * tokens, row + (which + 1) * tokens, 0.0);
  };
  return {.loss = sum(0), .kl = sum(1), .ce = sum(2), .tokens = tokens};
}

void distillation_loss_rows_(at::Tensor& logits, const SoftTargets& teacher,
                             const at::Tensor& labels, const LossConfig& config,
                             const at::Tensor& weights, const at::Tensor& rows,
                             const at::Tensor& gradient) {
  TORCH_INTERNAL_ASSERT(logits.dim() == 2 && labels.dim() == 1 && labels.size(0) == logits.size(0));
  TORCH_INTERNAL_ASSERT(!gradient.defined() ||
                        (gradient.is_contiguous() && gradient.sizes() == logits.sizes() &&
                         gradient.scalar_type() == logits.scalar_type() &&
                         gradient.device() == logits.device()));
  const double soft = teacher.defined() ? config.alpha : 0.0;
  const int64_t entries = soft > 0 && teacher.ids.defined() ? teacher.ids.size(1) : 0;
  // The GPU's kernel has no terms beyond a plain cross-entropy: those are made of whole matrices.
  const bool on_gpu = logits.is_cuda() && config.labels.plain() && has_cuda_loss_rows(entries);
  if (!logits.is_cpu() && !on_gpu) {
    tensor_loss_rows_(logits, teacher, labels, config, weights, rows);
    if (gradient.defined()) gradient.copy_(logits);
    return;
  }
  TORCH_CHECK(logits.is_contiguous() && value_dtype(logits.scalar_type()),
              "the loss needs contiguous logits of a floating type, not ", logits.toString());

  LossRows block;
  block.rows = logits.size(0);
  block.vocab = logits.size(1);
  block.logits = logits.data_ptr();
  block.gradient = gradient.defined() ? gradient.data_ptr() : block.logits;
  block.dtype = *value_dtype(logits.scalar_type());
  const at::Tensor ids_of_labels = labels.contiguous();  // (N)
  block.labels = ids_of_labels.const_data_ptr<int64_t>();
  at::Tensor of_token;  // (N)
  if (weights.defined()) {
    of_token = weights.to(logits.device(), at::kDouble).contiguous();
    block.weights = of_token.const_data_ptr<double>();
  }
  const Divergence divergence = divergence_from_name(config.kind);
  block.divergence = divergence;
  block.beta = config.beta;
  block.temperature = config.temperature;
  block.soft_weight = soft * temperature_factor(divergence, config.temperature);
  block.hard_weight = (1.0 - soft) * config.labels.factor();
  block.smoothing = config.labels.smoothing;
  block.hard_temperature = config.labels.temperature;
  block.entropy_weight = config.labels.confidence_penalty;
  block.z_weight = config.labels.z_loss;
  SoftArrays arrays;
  if (soft > 0) arrays.describe(teacher, logits, config, block);

  block.losses = rows[0].data_ptr<double>();
  block.divergences = rows[1].data_ptr<double>();
  block.cross_entropies = rows[2].data_ptr<double>();
  if (on_gpu) {
    queue_cuda_loss_rows(block, logits.device());
  } else {
    compute_loss_rows(block);
  }
}

LossSums distillation_loss_(at::Tensor& logits, const SoftTargets& teacher,
                            const at::Tensor& labels, const LossConfig& config,
                            const at::Tensor& weights) {
  const at::Tensor rows =
      at::empty({3, logits.size(0)}, logits.options().dtype(at::kDouble));  // (3, N)
  distillation_loss_rows_(logits, teacher, labels, config, weights, rows);
  return sums_of(rows);
}

}  // namespace temper
