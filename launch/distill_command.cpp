// temper distill: the main job. Teacher ranks make soft targets, student ranks learn from them, a
// last step fits the student's temperature, and a table compares teacher, student and, if asked,
// the same student trained on hard labels alone.
#include <ATen/ATen.h>

#include <cmath>

#include "comm/agree.h"
#include "comm/soft_target_channel.h"
#include "data/atomic_file.h"
#include "launch/command.h"
#include "launch/distill_summary.h"
#include "launch/dry_run.h"
#include "launch/progress.h"
#include "launch/report.h"
#include "launch/run_folder.h"
#include "launch/setup.h"
#include "launch/training.h"
#include "launch/vocabulary.h"
#include "model/hugging_face.h"
#include "student/student_model.h"
#include "teacher/teacher_config.h"
#include "teacher/worker.h"

namespace temper {

namespace {

namespace po = boost::program_options;

// Far from any run.seed + n that a person would use, so that a teacher that is trained first sees
// its data in another order.
constexpr uint64_t kTeacherSeed = 0x7eac4e50;

class DistillCommand : public Command {
 public:
  std::string name() const override { return "distill"; }
  std::string summary() const override {
    return "the main job: teacher ranks, student ranks, calibration, table";
  }

  void add_options(po::options_description& options) override {
    run_.add_options(options, /*folder=*/true);
    auto add = options.add_options();
    add("launch.teachers",
        po::value<int64_t>(&teachers_)->default_value(teachers_)->value_name("N"),
        "teacher ranks; the other ranks are students (0: colocated, every rank runs both models)");
    data_.add_options(options);
    teacher_.add_options(options);
    student_.add_options(options);
    loss_.add_options(options);
    train_.add_options(options);
    evaluation_.add_options(options);
    add("compare.hard-labels",
        po::value<bool>(&hard_labels_)->default_value(hard_labels_)->value_name("true|false"),
        "also train the same student on hard labels alone, for the same steps");
    add("compare.seeds", po::value<int64_t>(&seeds_)->default_value(seeds_)->value_name("N"),
        "repeat student (and comparison) with N seeds, run.seed and the next ones; the run "
        "folder's student is the first");
    add("debug.dump-gradient",
        po::value<std::string>(&gradient_path_)->default_value(gradient_path_)->value_name("FILE"),
        "write the first step's gradient, reduced over all ranks and not clipped, to this "
        "safetensors file");
  }

  void validate() const override {
    run_.validate();
    data_.validate();
    teacher_.validate();
    student_.validate();
    LossConfig loss = loss_;
    loss.temperature = teacher_.temperature;
    loss.validate();
    train_.validate();
    evaluation_.validate();
    TORCH_CHECK_VALUE(teachers_ >= 0, "--launch.teachers is ", teachers_,
                      ": give 0 (colocated) or more");
    TORCH_CHECK_VALUE(seeds_ >= 1 && seeds_ <= 1000, "--compare.seeds is ", seeds_,
                      ": give 1 to 1000");
  }

  void run(const Invocation& invocation) override;

 private:
  struct Job;

  /// Where the teacher's weights lie, or will lie once it is trained; empty: nowhere.
  std::string teacher_folder(const std::string& dir) const {
    return teacher_.train_steps > 0 ? dir + "/teacher" : teacher_.model.path;
  }

  RunConfig run_;
  int64_t teachers_ = 0;
  DataConfig data_;
  TeacherConfig teacher_;
  StudentModel student_;
  LossConfig loss_;
  TrainConfig train_;
  EvaluationConfig evaluation_;
  bool hard_labels_ = false;
  int64_t seeds_ = 1;
  std::string gradient_path_;
};

/// A distillation under way: what the stages share.
struct DistillCommand::Job {
  const DistillCommand& config;
  const Communicator& world;
  const Machine& machine;
  const Placement& placement;
  const std::string dir;
  const Corpus& corpus;
  const TeacherSource teacher_source;  // rows of vocabulary as in its folder
  const TransformerConfig teacher_shape;
  const TransformerConfig student_shape;
  const std::vector<TokenizerFile> tokenizer;  // goes into every folder that is written
  const bool is_teacher;
  const Communicator role;                // the ranks of this rank's role
  std::optional<Transformer> teacher;     // on teacher ranks, on all where colocated
  std::unique_ptr<Collectives> students;  // on student ranks
  at::Tensor teacher_head;                // (V, C) on student ranks, for the payload hidden
  DistillSummary summary;                 // complete on world rank 0

  bool speaks() const { return world.rank() == 0; }

  ModelResult judge_model(const Transformer& model, const std::string& name, uint64_t seed,
                          const Communicator& comm) const {
    return judge(model, name, seed, corpus, config.train_.seq, config.evaluation_,
                 config.run_.compute(), comm);
  }

  TrainingStage stage(const std::string& title, uint64_t seed) const {
    TrainingStage stage;
    stage.title = title;
    stage.train = config.train_;
    stage.loss = config.loss_;
    stage.loss.temperature = config.teacher_.temperature;
    stage.compute = config.run_.compute();
    stage.seed = seed;
    stage.corpus = &corpus;
    stage.tokenizer = tokenizer;
    return stage;
  }

  WorkPlan plan(uint64_t seed) const {
    const TrainConfig& train = config.train_;
    return {train.steps, train.batch, train.micro_batch, train.seq, seed};
  }

  PayloadSpec payload() const {
    return payload_spec(payload_from_name(config.teacher_.payload), teacher_shape,
                        config.teacher_.entries(), config.run_.compute());
  }

  TeacherInference inference(uint64_t seed) const {
    return TeacherInference(*teacher, config.run_.compute(), payload(), config.teacher_.temperature,
                            seed);
  }

  ChannelConfig channel(const WorkPlan& plan) const {
    ChannelConfig channel;
    const int count = static_cast<int>(placement.students.size());
    for (int student = 0; student < count; ++student) {
      for (const RowRange& rows : plan.units(student, count))
        channel.max_rows = std::max(channel.max_rows, rows.size());
    }
    channel.seq = plan.seq;
    channel.payload = payload();
    channel.temperature = config.teacher_.temperature;
    channel.lookahead = config.teacher_.lookahead;
    return channel;
  }

  void prepare_teacher();
  void send_head();
  void judge_teacher(const Communicator& holders);
  Transformer new_student(uint64_t seed) const;
  void distil(int64_t repetition);
  void train_on_hard_labels(int64_t repetition);
};

/// Opens the teacher, or trains it on all ranks, and measures it.
void DistillCommand::Job::prepare_teacher() {
  const TeacherConfig& options = config.teacher_;
  const bool holds = is_teacher || placement.colocated();
  if (options.train_steps == 0) {
    agree(world, [&] {
      if (!holds) return;
      if (!options.model.path.empty()) {
        LoadOptions load;
        load.device = machine.device;
        load.dtype = std::nullopt;
        load.vocab = teacher_shape.vocab;
        teacher.emplace(load_model(options.model.path, load));
      } else {
        teacher.emplace(teacher_shape, at::kFloat, machine.device);
        teacher->init_weights(static_cast<uint64_t>(config.run_.seed));
      }
    });
    if (options.model.path.empty() && speaks()) {
      say("warning: the teacher has random weights (good for benchmarks only): name one with "
          "--teacher.path, or train it first "
          "with --teacher.train-steps");
    }
    judge_teacher(role);
    return;
  }
  teacher.emplace(teacher_shape, at::kFloat, machine.device);
  teacher->init_weights(kTeacherSeed + static_cast<uint64_t>(config.run_.seed));
  const std::unique_ptr<Collectives> everyone = make_collectives(world, machine);
  TrainingStage first = stage("teacher ", kTeacherSeed + static_cast<uint64_t>(config.run_.seed));
  first.train.steps = options.train_steps;
  first.train.lr = options.train_lr;
  first.metrics_path = dir + "/teacher-metrics.jsonl";
  run_training(*teacher, first, *everyone);
  judge_teacher(world);
  if (speaks())
    save_model(*teacher, dir + "/teacher", summary.results.front().fit.temperature, tokenizer);
  if (!holds) teacher.reset();
  world.barrier();  // students may be cut from the folder
}

/// With the payload hidden, the students need the teacher's head. Sent once.
void DistillCommand::Job::send_head() {
  const PayloadSpec spec = payload();
  if (spec.kind != Payload::kHidden || placement.colocated()) return;
  teacher_head =
      is_teacher ? inference(0).head() : at::empty({spec.vocab, spec.width}, spec.dtype);  // (V, C)
  world.broadcast(teacher_head, placement.teachers.front());
}

/// `holders`: the ranks that have the teacher, or on other ranks anything.
void DistillCommand::Job::judge_teacher(const Communicator& holders) {
  const bool everyone = holders.size() == world.size();
  std::string json;
  if (teacher) json = to_json(judge_model(*teacher, "teacher", 0, holders)).dump();
  world.barrier();
  const int from = everyone ? 0 : placement.teachers.front();
  summary.results.push_back(
      result_from_json(nlohmann::ordered_json::parse(world.broadcast(json, from))));
}

Transformer DistillCommand::Job::new_student(uint64_t seed) const {
  return config.student_.make(student_shape, teacher_source, seed, machine.device);
}

/// One student on soft targets. The first is the run's student: saved with its temperature as soon
/// as it has one.
void DistillCommand::Job::distil(int64_t repetition) {
  const uint64_t seed = static_cast<uint64_t>(config.run_.seed + repetition);
  const WorkPlan work = plan(seed);
  if (is_teacher) {
    serve_soft_targets(inference(seed), corpus, work, world, placement, channel(work));
    return;
  }
  Transformer student = new_student(seed);
  TrainingStage own = stage("distil  ", seed);
  if (repetition == 0) {
    own.metrics_path = dir + "/metrics.jsonl";
    own.checkpoint_dir = dir + "/checkpoints";
    own.gradient_path = config.gradient_path_;
  }
  std::unique_ptr<SoftTargetSource> source;
  if (placement.colocated()) {
    source = std::make_unique<LocalSoftTargets>(inference(seed));
  } else {
    const int index = placement.role_index(world.rank());
    const auto units =
        static_cast<int64_t>(work.units(index, static_cast<int>(placement.students.size())).size());
    source = std::make_unique<SoftTargetReceiver>(world, placement, channel(work),
                                                  units * work.steps, teacher_head);
    own.teacher_reports = [this] { return receive_reports(world, placement); };
  }
  own.source = source.get();
  const TrainingSummary trained = run_training(student, own, *students);
  const ModelResult result = judge_model(student, "student, distilled", seed, role);
  if (speaks()) {
    summary.results.push_back(result);
    if (repetition == 0) {
      summary.training = trained;
      save_model(student, dir + "/student", result.fit.temperature, tokenizer);
    }
  }
}

/// The same student, data and steps without soft targets.
void DistillCommand::Job::train_on_hard_labels(int64_t repetition) {
  if (is_teacher) return;
  const uint64_t seed = static_cast<uint64_t>(config.run_.seed + repetition);
  Transformer student = new_student(seed);
  TrainingStage own = stage("hard    ", seed);
  if (repetition == 0) own.metrics_path = dir + "/hard-labels-metrics.jsonl";
  run_training(student, own, *students);
  const ModelResult result = judge_model(student, "student, hard labels", seed, role);
  if (speaks()) summary.results.push_back(result);
}

void DistillCommand::run(const Invocation& invocation) {
  const Communicator& world = invocation.world;
  const Machine machine = set_up_machine(run_, world);
  Placement placement;
  agree(world, [&] {
    placement =
        place(static_cast<int>(std::min<int64_t>(teachers_, INT32_MAX)), machine.node_of_rank);
    const auto count = static_cast<int64_t>(placement.students.size());
    TORCH_CHECK_VALUE(train_.batch >= count, "--train.batch is ", train_.batch, ", fewer than the ",
                      count, " student ranks: give at least one sequence per student");
    const ModelConfig& shape = teacher_.model;
    if (!invocation.dry_run) return;
    const TransformerConfig teacher_shape = shape.resolve(planned_vocab(data_, shape));
    const TransformerConfig student_shape =
        student_.resolve({teacher_shape, teacher_folder("RUN.DIR")}, teacher_shape.vocab);
    if (world.rank() == 0) {
      print_distill_plan(invocation.ini, machine, placement, teacher_shape, student_shape, teacher_,
                         train_, run_);
    }
  });
  if (invocation.dry_run) return;

  const std::string dir = open_run_folder(run_, name(), invocation.ini, world);
  choose_tokenizer(data_, teacher_.model.path.empty() ? student_.folder() : teacher_.model.path);
  const std::unique_ptr<Corpus> corpus = open_corpus_everywhere(data_, dir, world);
  TeacherSource source;
  TransformerConfig teacher_shape, student_shape;
  std::vector<TokenizerFile> tokenizer;
  std::vector<std::string> notes;
  agree(world, [&] {
    source = {teacher_.model.resolve(corpus->vocab()), teacher_folder(dir)};
    teacher_shape = source.shape;
    student_shape = student_.resolve(source, corpus->vocab());
    notes = {fit_vocabulary(*corpus, "teacher", teacher_.model.path, teacher_shape),
             fit_vocabulary(*corpus, "student", student_.folder(), student_shape)};
    check_fit(teacher_shape, "teacher", teacher_.model.path, *corpus, train_.seq);
    check_fit(student_shape, "student", student_.folder(), *corpus, train_.seq);
    check_parts(*corpus, train_.seq, /*training=*/true);
    payload_spec(payload_from_name(teacher_.payload), teacher_shape, teacher_.entries(),
                 run_.compute())
        .validate();
    tokenizer = tokenizer_files(tokenizer_to_keep(
        *corpus, teacher_.model.path.empty() ? student_.folder() : teacher_.model.path));
  });

  const bool is_teacher = !placement.colocated() && placement.is_teacher(world.rank());
  Job job{*this,         world,     machine,    placement,
          dir,           *corpus,   source,     teacher_shape,
          student_shape, tokenizer, is_teacher, world.split(is_teacher ? 1 : 0, world.rank()),
          std::nullopt,  nullptr,   {},         {}};
  if (!is_teacher) job.students = make_collectives(job.role, machine);
  if (job.speaks()) {
    say("data    " + corpus->describe());
    say("teacher " + describe_model(teacher_shape));
    say("student " + describe_model(student_shape) + ", " + student_.describe_init(source));
    for (const std::string& note : notes) {
      if (!note.empty()) say("note    " + note);
    }
    const std::string roles = placement.colocated()
                                  ? format("%d, colocated", world.size())
                                  : format("%zu teacher, %zu student", placement.teachers.size(),
                                           placement.students.size());
    say(format("ranks   %s, %d thread%s each", roles.c_str(), machine.threads,
               machine.threads == 1 ? "" : "s"));
    if (!machine.note.empty()) say("note    " + machine.note);
    say("folder  " + dir);
  }

  job.prepare_teacher();
  job.send_head();
  for (int64_t repetition = 0; repetition < seeds_; ++repetition) {
    job.distil(repetition);
    if (hard_labels_) job.train_on_hard_labels(repetition);
  }
  std::optional<double> floor;
  if (!is_teacher) {
    floor = floor_nll(
        {corpus.get(), Part::kTest, train_.seq, evaluation_.max_tokens, evaluation_.micro_batch},
        job.role);
  }
  world.barrier();
  if (!job.speaks()) return;
  job.summary.floor = floor;
  job.summary.entropy_rate = corpus->entropy_rate();
  write_text_file(dir + "/summary.json", to_json(job.summary).dump(2) + "\n");
  write_report(dir);
  std::fputs(("\n" + to_text(job.summary)).c_str(), stdout);
  std::printf(
      "\nstudent: %s/student (a Hugging Face folder; its generation_config.json has the "
      "temperature)\n",
      dir.c_str());
}

}  // namespace

std::unique_ptr<Command> make_distill_command() { return std::make_unique<DistillCommand>(); }

}  // namespace temper
