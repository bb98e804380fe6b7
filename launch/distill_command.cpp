// temper distill: the main job. Teacher ranks make soft targets, student ranks learn from them, a
// last step fits the student's temperature, and a table compares teacher, student and, if asked,
// the same student trained on hard labels alone.
#include "comm/agree.h"
#include "launch/command.h"
#include "launch/distill_job.h"
#include "launch/dry_run.h"
#include "launch/progress.h"
#include "launch/run_folder.h"
#include "launch/stop_request.h"
#include "launch/throughput_model.h"

namespace temper {

namespace {

namespace po = boost::program_options;

class DistillCommand : public Command {
 public:
  std::string name() const override { return "distill"; }
  std::string summary() const override {
    return "the main job: teacher ranks, student ranks, calibration, table";
  }
  void add_options(po::options_description& options) override { config_.add_options(options); }
  void validate() const override {
    config_.validate();
    const std::vector<Payload> payloads = {payload_from_name(config_.teacher.payload)};
    config_.teacher.check_used(payloads);
    config_.loss.check_used(payloads);
  }
  void check_models() const override { config_.check_models(); }
  bool stops_when_asked() const override { return true; }
  void run(const Invocation& invocation) override;

 private:
  /// False where it ends early since a rank was asked to stop. Collective.
  bool run_stages(DistillJob& job, const std::string& ini) const;
  void dry_run(const Invocation& invocation, const Machine& machine,
               const Placement& placement) const;

  DistillConfig config_;
};

void DistillCommand::dry_run(const Invocation& invocation, const Machine& machine,
                             const Placement& placement) const {
  const ModelConfig& shape = config_.teacher.model;
  const TransformerConfig teacher = shape.resolve(planned_vocab(config_.data, shape));
  const TransformerConfig student =
      config_.student.resolve({teacher, config_.teacher_folder("RUN.DIR")}, teacher.vocab);
  config_.data.check_files();
  if (config_.replays()) read_store_index(config_.store);
  if (!config_.replays() || !shape.path.empty())
    check_positions(teacher, "teacher", config_.train.seq);
  check_positions(student, "student", config_.train.seq);
  config_.teacher.payload_spec(teacher, config_.run.compute()).validate();
  if (invocation.world.rank() != 0) return;
  check_run_folder(config_.run, name(), invocation.ini);
  print_distill_plan(invocation.ini, machine, placement, teacher, student, config_.teacher,
                     config_.train, config_.run, config_.store);
}

void say_start(const DistillJob& job, const DistillInputs& inputs) {
  say("data    " + inputs.corpus->describe());
  const StoreIndex& store = inputs.store.index;
  if (job.config.replays()) {
    say(format("teacher recorded in %s (%s): %lld rows, read %.1f times", inputs.store.dir.c_str(),
               store.teacher_words.c_str(), static_cast<long long>(store.rows()),
               static_cast<double>(job.config.train.steps * job.config.train.batch) /
                   static_cast<double>(store.rows())));
  } else {
    say("teacher " + describe_model(inputs.teacher_shape));
  }
  say("student " + describe_model(inputs.student_shape) + ", " +
      job.config.student.describe_init(inputs.teacher_source));
  for (const std::string& note : inputs.notes) say("note    " + note);
  const Placement& placement = job.placement;
  const std::string roles =
      placement.colocated()
          ? std::to_string(job.world.size()) + (job.config.replays() ? " students" : ", colocated")
          : format("%zu teacher, %zu student", placement.teachers.size(),
                   placement.students.size());
  say("ranks   " + roles + ", " + describe(job.machine));
  const std::string crash = job.config.run.crash_note(job.config.train.checkpoint_every);
  for (const std::string& note : {job.machine.note, crash}) {
    if (!note.empty()) say("note    " + note);
  }
  const std::string stream = job.describe_stream();
  if (!stream.empty()) say("stream  " + stream);
  say("folder  " + job.dir);
}

bool DistillCommand::run_stages(DistillJob& job, const std::string& ini) const {
  if (job.stops()) return false;
  job.prepare_teacher();
  if (job.stops()) return false;
  job.identify_first_weights();
  job.send_head();
  job.open_tee(ini);
  for (int64_t repetition = 0; repetition < config_.seeds; ++repetition) {
    job.distil(repetition);
    if (job.stops()) return false;
    if (!config_.hard_labels) continue;
    job.train_on_hard_labels(repetition);
    if (job.stops()) return false;
  }
  job.finish();
  return true;
}

void DistillCommand::run(const Invocation& invocation) {
  const Communicator& world = invocation.world;
  const Machine machine = set_up_machine(config_.run, world);
  Placement placement;
  agree(world, [&] {
    placement = planned_placement(config_.teachers, machine.node_of_rank, config_.spread);
    const auto count = static_cast<int64_t>(placement.students.size());
    TORCH_CHECK_VALUE(config_.train.batch >= count, "--train.batch is ", config_.train.batch,
                      ", fewer than the ", count,
                      " student ranks: give at least one sequence per student");
    if (invocation.dry_run) dry_run(invocation, machine, placement);
  });
  if (invocation.dry_run) return;

  const LockedFolder folder = open_run_folder(config_.run, name(), invocation.ini, world);
  const std::string& dir = folder.path;
  const DistillInputs inputs = open_distill_inputs(config_, dir, world);
  const Resumption resumption(config_.run.resume, dir, DistillJob::kMainStage, invocation.ini,
                              world);
  std::string stopped;
  {
    DistillJob job(config_, world, machine, placement, dir, inputs, resumption);
    if (job.speaks()) say_start(job, inputs);
    if (!run_stages(job, invocation.ini)) stopped = job.stop_words();
  }  // collective, so not with an exception on its way
  if (!stopped.empty()) throw StopRequested(stopped);
}

}  // namespace

std::unique_ptr<Command> make_distill_command() { return std::make_unique<DistillCommand>(); }

}  // namespace temper
