#include "student/training_step.h"

#include <ATen/ATen.h>

#include <chrono>
#include <cmath>

#include "student/head_loss.h"

namespace temper {

namespace {

/// Gradients where the reduction finds them without a copy.
Transformer& with_gradients(Transformer& model, Collectives& collectives) {
  if (!model.flat_gradients().defined())
    model.require_gradients(collectives.shared_zeros_like(model.flat_weights()));  // (P)
  return model;
}

}  // namespace

TrainingStep::TrainingStep(Transformer& model, const Corpus& corpus, const TrainConfig& config,
                           const LossConfig& loss, at::ScalarType compute, uint64_t seed,
                           Collectives& collectives, SoftTargetSource* source)
    : model_(with_gradients(model, collectives)),
      corpus_(corpus),
      config_(config),
      loss_(loss),
      compute_(compute),
      seed_(seed),
      collectives_(collectives),
      source_(source),
      optimizer_(model, config),
      reducer_(std::make_unique<GradientReducer>(collectives, model.flat_gradients())) {
  model_.checkpoint_activations(config.activation_checkpointing);
  const at::NoGradGuard no_grad;
  collectives_.broadcast(model_.flat_weights(), 0);
}

StepResult TrainingStep::run(int64_t step) {
  const auto start = std::chrono::steady_clock::now();
  const at::Device device = model_.flat_weights().device();
  const at::Tensor gradient = model_.flat_gradients();  // (P)
  gradient.zero_();

  // Note [Progress]
  // MPI moves a large message only inside its calls, and both ends must be there.
  // So whoever computes on a CPU looks in between its matrix products; over a slow link the
  // messages would stand still otherwise, and over a fast one wait for the other side's next call.
  std::function<void()> progress;
  if (source_ != nullptr && device.is_cpu()) progress = [this] { source_->progress(); };

  LossSums sums;
  const Transformer::Cast cast(model_, compute_);
  const RowRange mine = share(config_.batch, collectives_.rank(), collectives_.size());
  const int64_t micro =
      config_.micro_batch > 0 ? config_.micro_batch : std::max<int64_t>(1, mine.size());
  for (const RowRange& rows : micro_batches(mine, micro)) {
    const Batch batch = corpus_.read(Part::kTrain, seed_, step * config_.batch + rows.begin,
                                     rows.size(), config_.seq);
    const at::Tensor tokens = batch.tokens.to(device);              // (B, S)
    const at::Tensor labels = batch.labels.to(device).reshape(-1);  // (N)
    at::Tensor hidden;
    {
      const at::AutoGradMode grad(true);
      hidden = model_.hidden(tokens, compute_, progress).flatten(0, 1);  // (N, C)
    }
    // Asked for after the forward pass, so that a teacher has had that much longer.
    SoftTargets teacher;
    if (source_ != nullptr) {
      teacher =
          source_
              ->targets({.step = step, .first_row = rows.begin, .rows = rows.size()}, batch.tokens)
              .to(device);
    }
    at::Tensor hidden_gradient;  // (N, C)
    HeadLossOptions options;
    options.workspace = &head_workspace_;
    options.between = progress;
    sums += head_loss(hidden.detach(), model_.head(compute_), model_.head_gradient(), labels, teacher,
                      loss_, hidden_gradient, options);
    hidden.backward(hidden_gradient);
  }

  const auto reduction = std::chrono::steady_clock::now();
  reducer_->reduce();
  const double bytes = source_ != nullptr ? static_cast<double>(source_->take_bytes()) : 0.0;
  const LookaheadFill fill = source_ != nullptr ? source_->take_fill() : LookaheadFill{};
  at::Tensor totals = at::tensor({sums.loss, sums.kl, sums.ce, static_cast<double>(sums.tokens),
                                  bytes, fill.granted, fill.arrived},
                                 at::kDouble)
                          .to(device);  // (7)
  collectives_.all_reduce(totals);
  totals = totals.cpu();
  const double* total = totals.const_data_ptr<double>();

  StepResult result;
  result.step = step;
  result.tokens = static_cast<int64_t>(total[3]);
  const double per_token = 1.0 / std::max(1.0, total[3]);
  result.loss = total[0] * per_token;
  result.kl = total[1] * per_token;
  result.ce = total[2] * per_token;
  result.bytes = static_cast<int64_t>(total[4]);
  result.fill = {.granted = total[5], .arrived = total[6]};
  result.lr = config_.learning_rate(step);
  // Every rank holds the same sums, so that all of them stop, or none.
  result.grad_norm = gradient.norm().item<double>() * per_token;
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) {
    throw NumericError(c10::str(
        "step ", step, ": the loss is ", result.loss, " and the gradient's norm ", result.grad_norm,
        ", no finite numbers; the weights were not touched. A lower --train.lr or a longer "
        "--train.warmup often helps"));
  }
  if (on_gradient) on_gradient(step, gradient * per_token);

  double scale = per_token;
  if (config_.clip > 0 && result.grad_norm > config_.clip) scale *= config_.clip / result.grad_norm;
  gradient.mul_(scale);
  optimizer_.step(result.lr);

  if (source_ != nullptr) result.wait_seconds = source_->take_wait_seconds();
  const auto end = std::chrono::steady_clock::now();
  result.seconds = std::chrono::duration<double>(end - start).count();
  result.update_seconds = std::chrono::duration<double>(end - reduction).count();
  return result;
}

}  // namespace temper
