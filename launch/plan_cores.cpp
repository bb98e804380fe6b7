#include "launch/plan_cores.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "comm/mpi/backoff.h"
#include "launch/progress.h"
#include "launch/setup.h"
#include "student/training_step.h"
#include "teacher/inference.h"

namespace temper {
namespace {

constexpr int64_t kWarmUpSteps = 2;

/// Seconds of a step of the colocated job over `students`: the median.
double step_seconds(const ProbeJob& job, const TeacherInference& teacher, Collectives& students) {
  Transformer student(job.student_shape, at::kFloat, job.machine.device);
  student.init_weights(1);
  LocalSoftTargets source(teacher);
  TrainingStep step(student, job.corpus, job.train, job.loss, job.compute, job.seed, students,
                    &source);
  std::vector<double> seconds;
  for (int64_t number = 0; number < kWarmUpSteps + job.steps; ++number) {
    const StepResult done = step.run(number);
    if (number >= kWarmUpSteps) seconds.push_back(done.seconds);
  }
  step.settle();
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

/// Waits for all ranks without keeping a core busy.
void rest(const Communicator& world) {
  Request everybody = world.barrier_async();
  const Backoff backoff;
  while (!everybody.test()) backoff.pause();
}

}  // namespace

std::optional<CoreSplit> measure_core_split(const ProbeJob& job) {
  const Communicator& world = job.world;
  const int64_t threads = world.all_reduce(static_cast<int64_t>(job.machine.threads), Reduce::kSum);
  const bool fits =
      world.size() > 1 && job.machine.device.is_cpu() && job.machine.cores >= threads &&
      job.train.batch >= world.size() &&
      *std::max_element(job.machine.node_of_rank.begin(), job.machine.node_of_rank.end()) == 0;
  if (world.all_reduce(static_cast<int64_t>(fits), Reduce::kMin) == 0) return std::nullopt;

  const Transformer model =
      open_teacher(job.teacher_config, job.teacher_shape, 1, job.compute, job.machine.device);
  const TeacherInference teacher(model, job.compute,
                                 job.teacher_config.payload_spec(job.teacher_shape, job.compute),
                                 {job.teacher_config.temperature, job.train.steps}, job.seed);
  CoreSplit split;
  split.cores = static_cast<int>(threads);
  split.ranks = world.size();
  split.tokens = static_cast<double>(job.train.batch * job.train.seq);
  rest(world);
  if (world.rank() == 0) {
    at::set_num_threads(split.cores);
    const std::unique_ptr<Collectives> alone = make_collectives(Communicator::self(), job.machine);
    split.one_process = step_seconds(job, teacher, *alone);
    at::set_num_threads(job.machine.threads);
  }
  rest(world);
  const std::unique_ptr<Collectives> together = make_collectives(world, job.machine);
  split.all_ranks = world.all_reduce(step_seconds(job, teacher, *together), Reduce::kMax);
  split.one_process = world.all_reduce(split.one_process, Reduce::kMax);
  return split;
}

std::string to_text(const CoreSplit& split) {
  const double gain = split.one_is_faster() ? split.all_ranks / split.one_process
                                            : split.one_process / split.all_ranks;
  return format(
      "cores   colocated, one process with %d threads: %s tokens/s; %d ranks that share these "
      "cores: %s tokens/s. %s faster by %.0f%%\n",
      split.cores, count_text(split.tokens / split.one_process).c_str(), split.ranks,
      count_text(split.tokens / split.all_ranks).c_str(),
      split.one_is_faster() ? "One process (no mpirun) is" : "The ranks are", 100 * (gain - 1));
}

nlohmann::ordered_json to_json(const CoreSplit& split) {
  nlohmann::ordered_json json;
  json["cores"] = split.cores;
  json["ranks"] = split.ranks;
  json["one_process_tokens_per_s"] = split.tokens / split.one_process;
  json["ranks_tokens_per_s"] = split.tokens / split.all_ranks;
  json["faster"] = split.one_is_faster() ? "one process" : "ranks";
  return json;
}

}  // namespace temper
