#include "student/training_step.h"

#include <ATen/ATen.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "comm/activity.h"
#include "student/head_loss.h"

namespace temper {

namespace {

// Small enough that the first ones leave early, and that a part fits the caches.
constexpr int64_t kBucketBytes = int64_t{4} << 20;

/// Gradients where the reduction finds them without a copy.
Transformer& with_gradients(Transformer& model, Collectives& collectives) {
  if (!model.flat_gradients().defined())
    model.require_gradients(collectives.shared_zeros_like(model.flat_weights()));  // (P)
  return model;
}

}  // namespace

// Note [Sharded optimizer]
// ~~~~~~~~~~~~~~~~~~~~~~~~
// ZeRO-1: of each bucket of the gradient a rank gets the sum of its own shard, updates the weights
// of that shard, with moments for it alone, and sends them to all. The weights come while the next
// forward pass runs; each layer waits for its own (need_weights()). Nobody writes weights before
// all have them: the next reduction ends with Collectives::finish(), which says so.
//
// Without sharding every rank updates every shard. Both ways add up, divide and update the same
// pieces in the same order, so they give the same bits.

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
      guard_(config) {
  reducer_ = std::make_unique<GradientReducer>(
      collectives, model.flat_gradients(), kBucketBytes,
      sharded() ? Collective::kReduceScatter : Collective::kAllReduce);
  std::vector<Shard> updated;
  for (const Shard& bucket : reducer_->buckets()) {
    for (int rank = 0; rank < collectives.size(); ++rank) {
      Shard part = shard_of(bucket.count, rank, collectives.size());
      if (part.count == 0) continue;
      part.begin += bucket.begin;
      segments_.push_back(part);
      own_.push_back(!sharded() || rank == collectives.rank());
      if (own_.back()) updated.push_back(part);
    }
  }
  model_.checkpoint_activations(config.activation_checkpointing);
  const at::NoGradGuard no_grad;
  if (sharded()) model_.move_weights(collectives.shared_zeros_like(model.flat_weights()));
  optimizer_ = std::make_unique<Optimizer>(model_, config, updated);
  collectives_.broadcast(model_.flat_weights(), 0);
}

void TrainingStep::match_hidden(int64_t teacher_width) {
  match_.emplace(loss_.hidden, config_, model_.config().width, teacher_width, seed_,
                 model_.flat_weights());
}

// The corpus's rows, or what the student makes of them.
Batch TrainingStep::read(int64_t step, const RowRange& rows, Transformer::Cast& cast) {
  Batch batch = corpus_.read(Part::kTrain, seed_, step * config_.batch + rows.begin, rows.size(),
                             config_.seq);
  const FreeRunningConfig& free = config_.free_running;
  if (free.rewrites(step, config_.steps, seed_)) {
    need_weights(model_.flat_weights().numel());
    collectives_.wait_on_host();
    cast.through(model_.flat_weights().numel());
    const DrawPlace place = {
        .seed = seed_, .step = step, .first_row = rows.begin, .vocab = corpus_.vocab()};
    batch = free.writes(step, seed_)
                ? write_rows(model_, compute_, free, batch, place)
                : mix_rows(model_, compute_, free.mixes(step, config_.steps), batch, place);
  }
  const int64_t prompt = free.prompt_tokens(config_.seq);
  if (free.completion_only && prompt > 1) {
    batch.labels = batch.labels.clone();  // (B, S)
    batch.labels.narrow(1, 0, prompt - 1).fill_(kIgnoredLabel);
  }
  return batch;
}

// On the student's device; the head, which never changes, goes there once.
SoftTargets TrainingStep::soft_targets(const MicroBatchId& id, const at::Tensor& tokens) {
  const at::Device device = model_.flat_weights().device();
  SoftTargets teacher = source_->targets(id, tokens);
  if (teacher.head.defined() && teacher.head.device() != device) {
    if (!teacher_head_.defined()) teacher_head_ = teacher.head.to(device);
    teacher.head = teacher_head_;
  }
  return teacher.to(device);
}

// Several ranks send gradients while the backward pass runs, which a recorded one cannot.
TrunkGraph* TrainingStep::trunk_for(const at::Tensor& tokens, Transformer::Cast& cast) {
  if (!tokens.is_cuda() || collectives_.size() > 1 || config_.activation_checkpointing ||
      !config_.cuda_graphs)
    return nullptr;
  cast.through(model_.flat_weights().numel());
  if (!std::exchange(asked_for_trunk_, true))
    trunk_ = record_trunk(model_, compute_, tokens.sizes());
  return trunk_ && trunk_->fits(tokens.sizes()) ? trunk_.get() : nullptr;
}

// Loss and gradient of this rank's rows; buckets of the gradient leave as they are done.
LossSums TrainingStep::forward_and_backward(int64_t step) {
  const at::Device device = model_.flat_weights().device();
  Transformer::Cast cast(model_, compute_);

  // Note [Progress]
  // MPI moves a large message only inside its calls, and both ends must be there.
  // So whoever computes on a CPU looks in between its matrix products; over a slow link the
  // messages would stand still otherwise, and over a fast one wait for the other side's next call.
  ForwardHooks hooks;
  if (device.is_cpu() && (source_ != nullptr || collectives_.size() > 1)) {
    hooks.between = [this] {
      if (source_ != nullptr) source_->progress();
      reducer_->progress();
    };
  }
  hooks.needs = [&](int64_t end) {
    need_weights(end);
    cast.through(end);
  };

  LossConfig loss = loss_.at(step, config_.steps);
  if (config_.free_running.writes(step, seed_)) loss.alpha = 1;  // nobody has labelled these rows
  LossSums sums;
  micro_losses_.clear();
  const RowRange mine = share(config_.batch, collectives_.rank(), collectives_.size());
  const int64_t micro =
      config_.micro_batch > 0 ? config_.micro_batch : std::max<int64_t>(1, mine.size());
  for (const RowRange& rows : micro_batches(mine, micro)) {
    // On a GPU it is autograd's thread that calls this, from which MPI may not be called.
    if (rows.end == mine.end && collectives_.size() > 1 &&
        (device.is_cpu() || collectives_.any_thread()))
      hooks.final_from = [this](int64_t begin) { reducer_->ready_from(begin); };
    const Batch batch = read(step, rows, cast);
    collectives_.wait_on_host();  // for weights from other ranks; the copy would wait for them, too
    const at::Tensor tokens = batch.tokens.to(device);              // (B, S)
    const at::Tensor labels = batch.labels.to(device).reshape(-1);  // (N)
    at::Tensor hidden;
    TrunkGraph* const trunk = trunk_for(tokens, cast);
    if (trunk != nullptr) {
      hidden = trunk->forward(tokens);  // (N, C)
    } else {
      const at::AutoGradMode grad(true);
      hidden = model_.hidden(tokens, compute_, hooks).flatten(0, 1);  // (N, C)
    }
    if (on_hidden) on_hidden(step, hidden.detach());
    // Asked for after the forward pass, so that a teacher has had that much longer.
    SoftTargets teacher;
    if (source_ != nullptr)
      teacher =
          soft_targets({.step = step,
                        .first_row = rows.begin,
                        .rows = rows.size(),
                        .own_tokens = config_.free_running.rewrites(step, config_.steps, seed_)},
                       batch.tokens);
    ChosenTokens counts = {labels, {}};
    if (loss.tokens.chooses() && source_ != nullptr) {
      const bool by_teacher = loss.tokens.by == "teacher-entropy";
      counts = choose_tokens(
          loss.tokens, labels, config_.seq,
          by_teacher ? entropy_of(teacher, loss.temperature)
                     : entropy_of(hidden.detach(), model_.head(compute_).detach(), 1.0));
    }
    at::Tensor hidden_gradient;  // (N, C)
    HeadLossOptions options;
    options.workspace = &head_workspace_;
    options.between = hooks.between;
    options.weights = counts.weights;
    // On a GPU they are a copy, or lie in a buffer that is filled anew before the next call; what
    // is recorded of them was copied before, and the matching below takes hidden states alone.
    options.overwrite_teacher = device.is_cuda();
    LossSums own = head_loss(hidden.detach(), model_.head(compute_), model_.head_gradient(),
                             counts.labels, teacher, loss, hidden_gradient, options);
    if (match_) {
      const double value =
          match_->loss(hidden.detach(), teacher.values, counts.labels, hidden_gradient);
      own.hidden += value;
      own.loss += loss_.hidden.weight * value;
    }
    sums += own;
    micro_losses_.push_back({rows, own.loss, own.tokens});
    if (trunk != nullptr) {
      trunk->backward(hidden_gradient);
    } else {
      hidden.backward(hidden_gradient);
    }
  }
  return sums;
}

// Σ g² of each segment that this rank updates, 0 of the others.
std::vector<double> TrainingStep::squared_norms() const {
  std::vector<at::Tensor> norms;  // of the own ones
  for (size_t i = 0; i < segments_.size(); ++i) {
    if (!own_[i]) continue;
    const Shard& at = segments_[i];
    norms.push_back(at::linalg_vector_norm(model_.flat_gradients().narrow(0, at.begin, at.count), 2,
                                           at::OptionalIntArrayRef{}, /*keepdim=*/false,
                                           at::kDouble));
  }
  std::vector<double> squares(segments_.size(), 0.0);
  if (norms.empty()) return squares;
  at::Tensor own = at::stack(norms).square();  // (own segments)
  collectives_.wait_on_host();                 // until the sums are there that these norms are of
  own = own.cpu();
  const double* square = own.const_data_ptr<double>();
  for (size_t i = 0; i < segments_.size(); ++i)
    if (own_[i]) squares[i] = *square++;
  return squares;
}

// Collective.
std::vector<int64_t> TrainingStep::rows_at_fault(int64_t step) {
  at::Tensor marks = at::zeros({config_.batch}, at::kDouble);  // (batch)
  for (const MicroLoss& each : micro_losses_) {
    const double mean = each.loss / static_cast<double>(std::max<int64_t>(1, each.tokens));
    if (!std::isfinite(mean) || mean > guard_.spike_limit())
      marks.narrow(0, each.rows.begin, each.rows.size()).fill_(1);
  }
  marks = marks.to(model_.flat_weights().device());
  collectives_.all_reduce(marks);
  collectives_.wait_on_host();
  marks = marks.cpu();
  const double* mark = marks.const_data_ptr<double>();
  std::vector<int64_t> rows;
  for (int64_t row = 0; row < config_.batch; ++row)
    if (mark[row] > 0) rows.push_back(step * config_.batch + row);
  return rows;
}

// Sends the updated shards, those that the next forward pass reads first in front.
void TrainingStep::gather_weights() {
  if (!sharded()) return;
  const std::vector<Shard>& buckets = reducer_->buckets();
  for (auto bucket = buckets.rbegin(); bucket != buckets.rend(); ++bucket) {
    const at::Tensor part =
        model_.flat_weights().narrow(0, bucket->begin, bucket->count);  // (count)
    gathering_.push_back({*bucket, collectives_.start(Collective::kAllGather, part)});
  }
}

void TrainingStep::need_weights(int64_t end) {
  for (; !gathering_.empty() && gathering_.front().part.begin < end; gathering_.pop_front())
    collectives_.wait(gathering_.front().ticket);
}

void TrainingStep::settle() {
  need_weights(model_.flat_weights().numel());
  collectives_.finish();
  collectives_.wait_on_host();
}

void TrainingStep::wait_for_gpu() const {
  const at::Device device = model_.flat_weights().device();
  if (exact_times && device.is_cuda()) at::detail::getCUDAHooks().deviceSynchronize(device.index());
}

TrainingState TrainingStep::copy_state(KeptMemory& memory) const {
  const int64_t all = model_.flat_weights().numel();
  TrainingState state;
  state.optimizer = optimizer_->copy_state(
      sharded() ? Shard{0, all} : shard_of(all, collectives_.rank(), collectives_.size()), memory);
  if (match_ && collectives_.rank() == 0) {
    const at::NoGradGuard no_grad;
    for (const auto& [name, tensor] : match_->state()) {
      at::Tensor copy = memory.empty(tensor.sizes(), tensor.scalar_type());  // (of the tensor)
      state.match.emplace_back(name, copy.copy_(tensor));
    }
  }
  state.guard = guard_.state();
  return state;
}

void TrainingStep::restore(const std::vector<TrainingState>& parts) {
  const at::NoGradGuard no_grad;
  std::vector<OptimizerState> optimizer;
  std::vector<std::pair<std::string, at::Tensor>> match;
  for (const TrainingState& part : parts) {
    optimizer.push_back(part.optimizer);
    if (!part.match.empty()) match = part.match;
  }
  optimizer_->restore(optimizer);
  guard_.restore(parts.front().guard);
  if (!match_) return;
  for (const auto& [name, tensor] : match_->state()) {
    const auto found = std::find_if(match.begin(), match.end(), [&, &key = name](const auto& each) {
      return each.first == key;
    });
    TORCH_CHECK_VALUE(found != match.end() && found->second.sizes() == tensor.sizes(),
                      "the matching of hidden states lacks its ", name, " of shape ",
                      tensor.sizes());
    tensor.copy_(found->second);
  }
}

StepResult TrainingStep::run(int64_t step) {
  const auto start = std::chrono::steady_clock::now();
  const double waited = Waiting::total_seconds();
  const at::Device device = model_.flat_weights().device();
  const at::Tensor gradient = model_.flat_gradients();  // (P)
  gradient.zero_();
  const LossSums sums = forward_and_backward(step);

  wait_for_gpu();
  const auto reduction = std::chrono::steady_clock::now();
  const double busy = std::chrono::duration<double>(reduction - start).count() -
                      (Waiting::total_seconds() - waited);
  if (on_reduction) on_reduction(step);
  reducer_->finish();
  gathering_.clear();  // a rank without rows has not asked for them
  const double bytes = source_ != nullptr ? static_cast<double>(source_->take_bytes()) : 0.0;
  const LookaheadFill fill = source_ != nullptr ? source_->take_fill() : LookaheadFill{};
  std::vector<double> values = {sums.loss,
                                sums.kl,
                                sums.ce,
                                static_cast<double>(sums.tokens),
                                bytes,
                                fill.granted,
                                fill.arrived,
                                sums.hidden,
                                asked_to_stop && asked_to_stop() ? 1.0 : 0.0};
  const size_t busy_at = values.size();
  values.resize(busy_at + static_cast<size_t>(collectives_.size()), 0.0);
  values[busy_at + static_cast<size_t>(collectives_.rank())] = busy;
  const std::vector<double> squares = squared_norms();
  const size_t own_values = values.size();
  if (sharded()) values.insert(values.end(), squares.begin(), squares.end());
  at::Tensor totals = at::tensor(values, at::kDouble).to(device);  // (values)
  {
    const Waiting waiting(Operation::kAllReduce);
    collectives_.all_reduce(totals);
    collectives_.wait_on_host();
    totals = totals.cpu();
  }
  const double* total = totals.const_data_ptr<double>();
  double square = 0;
  for (size_t i = 0; i < squares.size(); ++i)
    square += sharded() ? total[own_values + i] : squares[i];

  StepResult result;
  result.step = step;
  result.tokens = static_cast<int64_t>(total[3]);
  const double per_token = 1.0 / std::max(1.0, total[3]);
  result.loss = total[0] * per_token;
  result.kl = total[1] * per_token;
  result.ce = total[2] * per_token;
  result.hidden = total[7] * per_token;
  result.bytes = static_cast<int64_t>(total[4]);
  result.fill = {.granted = total[5], .arrived = total[6]};
  result.stop = total[8] > 0;
  result.lr = config_.learning_rate(step);
  result.grad_norm = std::sqrt(square) * per_token;
  result.busy_seconds.assign(total + busy_at, total + own_values);
  if (on_gradient) on_gradient(step, gradient * per_token);

  result.skipped = guard_.judge(result.loss, result.grad_norm);
  if (!result.skipped.empty()) {
    result.skipped_rows = rows_at_fault(step);
    if (match_) match_->discard();
  } else {
    double scale = per_token;
    if (config_.clip > 0 && result.grad_norm > config_.clip)
      scale *= config_.clip / result.grad_norm;
    optimizer_->step(result.lr, scale);
    if (match_) match_->update(result.lr, scale, collectives_);
    gather_weights();
  }

  if (source_ != nullptr) result.wait_seconds = source_->take_wait_seconds();
  wait_for_gpu();
  const auto end = std::chrono::steady_clock::now();
  result.seconds = std::chrono::duration<double>(end - start).count();
  result.update_seconds = std::chrono::duration<double>(end - reduction).count();
  return result;
}

}  // namespace temper
