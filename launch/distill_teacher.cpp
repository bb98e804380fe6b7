// How a DistillJob comes to its teacher: opened, trained, or trained before the run was cut.
#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "comm/agree.h"
#include "launch/distill_job.h"
#include "launch/progress.h"
#include "model/fingerprint.h"
#include "model/hugging_face.h"

namespace temper {

namespace {

// Far from any run.seed + n that a person would use, so that a teacher that is trained first sees
// its data in another order.
constexpr uint64_t kTeacherSeed = 0x7eac4e50;

}  // namespace

void DistillJob::prepare_teacher() {
  if (config.replays()) {
    teacher_fingerprint_ = inputs_.store.index.fingerprint();  // its rows and their order as well
    return;
  }
  const TeacherConfig& options = config.teacher;
  const bool holds = is_teacher_ || placement.colocated();
  if (options.train_steps == 0) {
    agree(world, [&] {
      if (!holds) return;
      teacher_.emplace(open_teacher(options, inputs_.teacher_shape,
                                    static_cast<uint64_t>(config.run.seed), config.run.compute(),
                                    machine.device));
    });
    if (options.model.path.empty() && speaks()) {
      say("warning: the teacher has random weights (good for benchmarks only): name one with "
          "--teacher.path, or train it first "
          "with --teacher.train-steps");
    }
    teacher_fingerprint_ = fingerprint_of_teacher();
    judge_teacher(role_);
    return;
  }
  const uint64_t seed = kTeacherSeed + static_cast<uint64_t>(config.run.seed);
  if (const auto finished = resumption_.result(identity(kTeacherStage, seed))) {
    open_trained_teacher(*finished);
  } else {
    train_teacher();
  }
}

std::string DistillJob::fingerprint_of_teacher() const {
  const int from = placement.colocated() ? 0 : placement.teachers.front();
  std::string own;
  if (world.rank() == from) own = fingerprint(*teacher_);
  world.barrier();  // without holding a core
  return world.broadcast(own, from);
}

/// As train_teacher() left it.
void DistillJob::open_trained_teacher(const nlohmann::json& finished) {
  const std::string folder = dir + "/teacher";
  agree(world, [&] {
    if (!is_teacher_ && !placement.colocated()) return;
    LoadOptions load;
    load.device = machine.device;
    load.dtype = config.teacher.weights_dtype(config.run.compute()).value_or(at::kFloat);
    teacher_.emplace(load_model(folder, load));
  });
  teacher_fingerprint_ = fingerprint_of_teacher();
  const std::string expected = finished.at("fingerprint");
  agree(world, [&] {
    TORCH_CHECK_VALUE(teacher_fingerprint_ == expected, folder, ": the teacher is ",
                      teacher_fingerprint_, ", and the run trained ", expected,
                      ": it was changed, or teacher.weights was; put it back, or begin anew with "
                      "--run.resume no --run.overwrite true");
  });
  summary_.results.push_back(result_from_json(finished.at("result")));
  if (speaks()) say("resume  teacher: finished before");
}

void DistillJob::train_teacher() {
  const TeacherConfig& options = config.teacher;
  teacher_.emplace(inputs_.teacher_shape, at::kFloat, machine.device);
  teacher_->init_weights(kTeacherSeed + static_cast<uint64_t>(config.run.seed));
  const std::unique_ptr<Collectives> everyone = make_collectives(world, machine);
  TrainingStage first =
      stage("teacher ", kTeacherStage, kTeacherSeed + static_cast<uint64_t>(config.run.seed));
  first.train.steps = options.train_steps;
  first.train.lr = options.train_lr;
  first.train.free_running = {};
  first.loss = {};  // what is asked of the student is not asked of the teacher
  first.metrics_path = dir + "/teacher-metrics.jsonl";
  first.tensorboard_dir = tensorboard_dir("teacher");
  first.from = resumption_.point(first.run);
  trained_ = run_training(*teacher_, first, *everyone, world);
  stopped_ = trained_.stopped;
  trained_what_ = " of the teacher's training";
  if (!stopped_) judge_teacher(world);
  if (stopped_) return;
  if (speaks())
    save_model(*teacher_, dir + "/teacher", summary_.results.front().fit.temperature,
               inputs_.tokenizer);
  if (is_teacher_ || placement.colocated()) {  // without gradients, and as it is kept
    teacher_ = teacher_->as(options.weights_dtype(config.run.compute()).value_or(at::kFloat));
  } else {
    teacher_.reset();
  }
  teacher_fingerprint_ = fingerprint_of_teacher();
  if (speaks()) {
    resumption_.finish(first.run, {{"result", to_json(summary_.results.front())},
                                   {"fingerprint", teacher_fingerprint_}});
  }
  world.barrier();  // students may be cut from the folder
}

/// `holders`: the ranks that have the teacher, or on other ranks anything.
void DistillJob::judge_teacher(const Communicator& holders) {
  const bool everyone = holders.size() == world.size();
  std::string json;
  if (teacher_) {
    if (const auto result = judge_model(*teacher_, "teacher", 0, holders))
      json = to_json(*result).dump();
  }
  world.barrier();
  const int from = everyone ? 0 : placement.teachers.front();
  json = world.broadcast(json, from);
  stopped_ = json.empty();
  if (stopped_) return;
  summary_.results.push_back(result_from_json(nlohmann::ordered_json::parse(json)));
  if (speaks()) log_result("teacher", summary_.results.back());
}

void DistillJob::send_head() {
  if (config.replays()) return;
  const PayloadSpec spec = payload();
  if (spec.kind != Payload::kHidden || placement.colocated()) return;
  teacher_head_ = is_teacher_
                      ? inference(0).head().cpu()
                      : at::empty({spec.vocab, spec.width}, config.run.compute());  // (V, C)
  world.broadcast(teacher_head_, placement.teachers.front());
  agree(world, [&] {
    TORCH_CHECK(at::isfinite(teacher_head_).all().item<bool>(),
                "the teacher's output head has values that are no finite numbers: look at ",
                config.teacher_folder(dir));
  });
}

}  // namespace temper
