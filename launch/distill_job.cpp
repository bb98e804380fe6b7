#include "launch/distill_job.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>

#include "comm/agree.h"
#include "comm/teacher_report.h"
#include "data/atomic_file.h"
#include "launch/progress.h"
#include "launch/report.h"
#include "launch/stop_request.h"
#include "model/fingerprint.h"
#include "model/hugging_face.h"
#include "teacher/recording_soft_targets.h"
#include "teacher/store_fit.h"
#include "teacher/stored_soft_targets.h"

namespace temper {

DistillJob::DistillJob(const DistillConfig& options, const Communicator& everyone,
                       const Machine& this_machine, const Placement& roles, std::string run_dir,
                       const DistillInputs& inputs, const Resumption& resumption)
    : config(options),
      world(everyone),
      machine(this_machine),
      placement(roles),
      dir(std::move(run_dir)),
      inputs_(inputs),
      resumption_(resumption),
      corpus_(*inputs.corpus),
      is_teacher_(!roles.colocated() && roles.is_teacher(everyone.rank())),
      role_(everyone.split(is_teacher_ ? 1 : 0, everyone.rank())) {
  agree(world, [&] { faults_.emplace(config.faults, world, dir); });
  rank_names_ = rank_names(world);
  if (!is_teacher_) {
    try {
      students_ = make_collectives(role_, machine);
    } catch (const AgreedError& error) {
      TORCH_CHECK(false, error.what());  // the students agreed; the teachers know nothing of it
    }
  }
  if (placement.colocated()) return;
  TransportOptions transport;
  transport.wish = transport_from_name(config.teacher.transport);
  transport.node_of_rank = machine.node_of_rank;
  transport.device = machine.device;
  transport.students_write = config.train.free_running.any();
  const WorkPlan work = plan(0);
  const int count = static_cast<int>(placement.students.size());
  for (int student = 1; student < count; ++student)
    transport.equal_units =
        transport.equal_units && work.units(student, count).size() == work.units(0, count).size();
  transports_ = std::make_unique<SoftTargetTransports>(world, placement, channel(), transport);
}

std::string DistillJob::describe_stream() const {
  if (!transports_) return "";
  const std::string& note = transports_->note();
  return transports_->describe() + (note.empty() ? "" : " (" + note + ")");
}

bool DistillJob::stops() const { return any_asked_to_stop(world, stopped_); }

std::string DistillJob::stop_words() const {
  return temper::stop_words(trained_, resumption_.goes_on()) + trained_what_;
}

std::optional<ModelResult> DistillJob::judge_model(const Transformer& model,
                                                   const std::string& name, uint64_t seed,
                                                   const Communicator& comm) const {
  try {
    return judge(model, name, seed, corpus_, config.train.seq, config.evaluation,
                 config.run.compute(), comm, config.calibration.position_buckets);
  } catch (const EvaluationStopped&) {  // by all ranks of `comm`
    return std::nullopt;
  }
}

TrainingStage DistillJob::stage(const std::string& title, const std::string& name,
                                uint64_t seed) const {
  TrainingStage stage;
  stage.title = title;
  stage.train = config.train;
  stage.loss = config.student_loss();
  stage.compute = config.run.compute();
  stage.seed = seed;
  stage.corpus = &corpus_;
  stage.tokenizer = inputs_.tokenizer;
  stage.checkpoint_dir = resumption_.checkpoints(name);
  stage.run = CheckpointManifest(identity(name, seed));
  stage.run.teachers = static_cast<int64_t>(placement.teachers.size());
  stage.evaluation = config.evaluation;
  return stage;
}

StageIdentity DistillJob::identity(const std::string& name, uint64_t seed) const {
  StageIdentity identity = resumption_.identity(name, seed, corpus_.fingerprint());
  if (name == kTeacherStage) {
    identity.first_weights = kRandomWeights;
    identity.first_weights_options = "--teacher.train-steps";
    return identity;
  }
  identity.teacher = name.starts_with("distilled-") ? teacher_fingerprint_ : "";
  identity.first_weights = first_weights_;
  identity.first_weights_options = "--student.init " + config.student.init + " (" +
                                   config.student.describe_init(inputs_.teacher_source) + ")";
  return identity;
}

void DistillJob::identify_first_weights() {
  if (config.student.starts_random()) {
    first_weights_ = kRandomWeights;
    return;
  }
  std::string own;
  std::exception_ptr trouble;
  try {
    if (speaks())
      own = fingerprint(config.student.make(inputs_.student_shape, inputs_.teacher_source,
                                            /*seed=*/0, at::kCPU));
  } catch (...) {
    trouble = std::current_exception();
  }
  world.barrier();  // without holding a core
  agree(world, [&] {
    if (trouble) std::rethrow_exception(trouble);
  });
  first_weights_ = world.broadcast(own, 0);
}

bool DistillJob::take_result(const std::string& name, uint64_t seed) {
  const auto finished = resumption_.result(identity(name, seed));
  if (!finished) return false;
  if (!speaks()) return true;
  say("resume  " + name + ": finished before");
  summary_.results.push_back(result_from_json(finished->at("result")));
  if (name == kMainStage) summary_.training = training_from_json(finished->at("training"));
  return true;
}

void DistillJob::finish_stage(const std::string& name, const ModelResult& result,
                              const TrainingSummary& trained) {
  summary_.results.push_back(result);
  if (name == kMainStage) summary_.training = trained;
  resumption_.finish(identity(name, result.seed),
                     {{"result", to_json(result)}, {"training", to_json(trained)}});
}

std::string DistillJob::tensorboard_dir(const std::string& model) const {
  return config.log.tensorboard ? dir + "/tensorboard/" + model : "";
}

void DistillJob::log_result(const std::string& model, const ModelResult& result) const {
  if (!config.log.tensorboard) return;
  const bool teacher = model == "teacher";
  TensorboardFile(tensorboard_dir(model), "2.test")
      .write(teacher ? config.teacher.train_steps : config.train.steps, test_scalars(result));
}

WorkPlan DistillJob::plan(uint64_t seed) const {
  const TrainConfig& train = config.train;
  return {train.steps, train.batch, train.micro_batch, train.seq, seed};
}

PayloadSpec DistillJob::payload() const {
  return config.teacher.payload_spec(inputs_.teacher_shape, config.run.compute());
}

TeacherInference DistillJob::inference(uint64_t seed) const {
  return TeacherInference(*teacher_, config.run.compute(), payload(),
                          {config.teacher.temperature, config.train.steps}, seed);
}

ChannelConfig DistillJob::channel() const {
  const WorkPlan work = plan(0);
  ChannelConfig channel;
  const int count = static_cast<int>(placement.students.size());
  for (int student = 0; student < count; ++student) {
    for (const RowRange& rows : work.units(student, count))
      channel.max_rows = std::max(channel.max_rows, rows.size());
  }
  channel.seq = work.seq;
  channel.payload = payload();
  channel.temperature = {config.teacher.temperature, config.train.steps};
  channel.tokenizer = inputs_.tokenizer_fingerprint;
  channel.lookahead = config.teacher.lookahead;
  return channel;
}

void DistillJob::open_tee(const std::string& ini) {
  if (config.tee.empty()) return;
  // Then all of it is recorded, and other ranks may do what is left of the run.
  if (resumption_.result(identity(kMainStage, static_cast<uint64_t>(config.run.seed)))) return;
  const bool colocated = placement.colocated();
  StoreRequest request;
  request.option = "--teacher.tee";
  request.dir = config.tee;
  request.ini = ini;
  request.teacher_shape = inputs_.teacher_shape;
  request.teacher = teacher_ ? &*teacher_ : nullptr;
  request.teacher_rank = colocated ? 0 : placement.teachers.front();
  request.index = store_of_run(corpus_, inputs_.tokenizer_fingerprint, payload(),
                               config.teacher.temperature, config.run, config.train);
  request.index.parts = static_cast<int64_t>(placement.students.size());
  if (config.teacher.train_steps > 0)
    request.index.mend_options = "--teacher.path " + dir + "/teacher --teacher.train-steps 0";
  if (speaks() && payload().kind == Payload::kHidden)
    request.head = colocated ? inference(0).head().cpu() : teacher_head_;  // (V, C)
  WritableStore store = open_store_for_writing(std::move(request), world);
  tee_ = std::move(store.index);
  tee_lock_ = std::move(store.lock);
  if (speaks())
    say(format("store   %s: %lld shards are recorded", config.tee.c_str(),
               static_cast<long long>(tee_.shard_count())));
}

Transformer DistillJob::new_student(uint64_t seed) const {
  return config.student.make(inputs_.student_shape, inputs_.teacher_source, seed, machine.device);
}

/// Where a student's soft targets come from.
std::unique_ptr<SoftTargetSource> DistillJob::source(const WorkPlan& work, uint64_t seed) const {
  const OpenStore& store = inputs_.store;
  if (config.replays()) {
    return std::make_unique<StoredSoftTargets>(store.index, store.dir,
                                               Replay{work.batch, seed, store.order()}, store.head);
  }
  if (placement.colocated()) return std::make_unique<LocalSoftTargets>(inference(seed));
  const int index = placement.role_index(world.rank());
  const auto units =
      static_cast<int64_t>(work.units(index, static_cast<int>(placement.students.size())).size());
  return std::make_unique<SoftTargetReceiver>(*transports_, units * (work.steps - work.first_step),
                                              teacher_head_);
}

void DistillJob::distil(int64_t repetition) {
  const std::string name = "distilled-" + std::to_string(repetition + 1);
  const uint64_t seed = static_cast<uint64_t>(config.run.seed + repetition);
  if (take_result(name, seed)) return;
  const ResumePoint from = resumption_.point(identity(name, seed));
  WorkPlan work = plan(seed);
  work.first_step = from.step();
  if (is_teacher_) {
    const FreeRunningConfig& free = config.train.free_running;
    std::function<bool(int64_t)> own_tokens;
    if (free.any())
      own_tokens = [&](int64_t step) { return free.rewrites(step, work.steps, seed); };
    ServingHooks hooks;
    hooks.asked_to_stop = asked_to_stop;
    if (repetition == 0) {
      hooks.on_hidden = [&](int64_t step, const at::Tensor& hidden) {
        faults_->in_forward(step, hidden);
      };
      hooks.on_sent = [&](int64_t step) { faults_->in_comm(step); };
    }
    serve_soft_targets(inference(seed), corpus_, work, *transports_, config.teacher.batch,
                       own_tokens, hooks);
    return;
  }
  Transformer student = new_student(seed);
  TrainingStage own = stage("distil  ", name, seed);
  own.from = from;
  if (repetition == 0) {
    own.metrics_path = dir + "/metrics.jsonl";
    own.tensorboard_dir = tensorboard_dir("distilled");
    own.gradient_path = config.gradient_path;
    own.faults = &*faults_;
  }
  for (const int rank : placement.students)
    own.rank_names.push_back(rank_names_[static_cast<size_t>(rank)]);
  for (const int rank : placement.teachers)
    own.teacher_names.push_back(rank_names_[static_cast<size_t>(rank)]);
  std::unique_ptr<SoftTargetSource> soft_targets = source(work, seed);
  auto* const stream = dynamic_cast<SoftTargetReceiver*>(soft_targets.get());
  if (stream != nullptr) {
    own.stop_after = [&, stream](int64_t step) {
      const int64_t last = last_step_begun(work, step);
      const int index = placement.role_index(world.rank());
      const auto units = work.units(index, static_cast<int>(placement.students.size())).size();
      stream->end_after((last + 1 - work.first_step) * static_cast<int64_t>(units));
      return last;
    };
  }
  RecordingSoftTargets* recording = nullptr;
  if (!config.tee.empty() && repetition == 0) {
    auto recorded =
        std::make_unique<RecordingSoftTargets>(std::move(soft_targets), tee_, config.tee,
                                               placement.role_index(world.rank()), work.first_step);
    recording = recorded.get();
    soft_targets = std::move(recorded);
  }
  if (!placement.colocated())
    own.teacher_reports = [this] { return receive_reports(world, placement); };
  own.source = soft_targets.get();
  if (config.loss.hidden.weight > 0)
    own.match_width = (config.replays() ? inputs_.store.index.payload : payload()).width;
  own.lookahead = config.teacher.lookahead;
  trained_ = run_training(student, own, *students_, role_);
  trained_what_ = "";
  if (stream != nullptr && trained_.stopped) stream->end();
  if (stream != nullptr && speaks()) drain_reports(world, placement);
  stopped_ = trained_.stopped;
  if (stopped_) return;
  if (recording != nullptr) {
    recording->finish();
    say_missing_shards();
  }
  const std::optional<ModelResult> result = judge_model(student, "student, distilled", seed, role_);
  stopped_ = !result;
  if (stopped_ || !speaks()) return;
  if (repetition == 0) {
    log_result("distilled", *result);
    save_model(student, dir + "/student", result->fit.temperature, inputs_.tokenizer);
  }
  finish_stage(name, *result, trained_);
}

/// A store that was recorded while the run was cut lacks the shards that were being written then.
void DistillJob::say_missing_shards() const {
  role_.barrier();
  if (!speaks()) return;
  const MissingShards missing = missing_shards(tee_, config.tee, tee_.rows());
  if (missing.count == 0) return;
  say(format(
      "warning: --teacher.tee %s lacks %lld of %lld shards, those that were being written when "
      "the run was cut; make them with '%s'",
      config.tee.c_str(), static_cast<long long>(missing.count),
      static_cast<long long>(tee_.shard_count()), mend_command(tee_, config.tee).c_str()));
}

/// Where students agree after `step` to stop: the furthest step in which one of them may have
/// granted a micro-batch to a teacher.
int64_t DistillJob::last_step_begun(const WorkPlan& work, int64_t step) const {
  const int students = static_cast<int>(placement.students.size());
  auto fewest = static_cast<int64_t>(work.units(0, students).size());  // micro-batches of a step
  for (int student = 1; student < students; ++student)
    fewest = std::min(fewest, static_cast<int64_t>(work.units(student, students).size()));
  return std::min(work.steps - 1, step + (config.teacher.lookahead + fewest - 1) / fewest);
}

void DistillJob::train_on_hard_labels(int64_t repetition) {
  const std::string name = "hard-labels-" + std::to_string(repetition + 1);
  const uint64_t seed = static_cast<uint64_t>(config.run.seed + repetition);
  if (take_result(name, seed)) return;
  const ResumePoint from = resumption_.point(identity(name, seed));
  if (is_teacher_) return;
  Transformer student = new_student(seed);
  TrainingStage own = stage("hard    ", name, seed);
  own.from = from;
  own.train.free_running.on_policy = 0;  // nobody has labelled what a student writes
  if (repetition == 0) {
    own.metrics_path = dir + "/hard-labels-metrics.jsonl";
    own.tensorboard_dir = tensorboard_dir("hard-labels");
  }
  trained_ = run_training(student, own, *students_, role_);
  stopped_ = trained_.stopped;
  trained_what_ = " of the training on hard labels";
  if (stopped_) return;
  const std::optional<ModelResult> result =
      judge_model(student, "student, hard labels", seed, role_);
  stopped_ = !result;
  if (stopped_ || !speaks()) return;
  if (repetition == 0) log_result("hard-labels", *result);
  finish_stage(name, *result, trained_);
}

void DistillJob::finish() {
  std::optional<double> floor;
  if (!is_teacher_) {
    floor = floor_nll({&corpus_, Part::kTest, config.train.seq, config.evaluation.max_tokens,
                       config.evaluation.micro_batch},
                      role_);
  }
  world.barrier();
  if (!speaks()) return;
  summary_.floor = floor;
  summary_.entropy_rate = corpus_.entropy_rate();
  write_text_file(dir + "/summary.json", to_json(summary_).dump(2) + "\n");
  write_report(dir);
  std::fputs(("\n" + to_text(summary_)).c_str(), stdout);
  std::printf(
      "\nstudent: %s/student (a Hugging Face folder; its generation_config.json has the "
      "temperature)\n",
      dir.c_str());
}

}  // namespace temper
