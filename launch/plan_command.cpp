// temper plan: how many teacher and student ranks, which payload and lookahead, and what to expect
// of them; from a short probe of the real models, or from rates that the user gives.
#include <ATen/ATen.h>

#include <thread>

#include "comm/agree.h"
#include "launch/command.h"
#include "launch/dry_run.h"
#include "launch/plan_config.h"
#include "launch/plan_probe.h"
#include "launch/plan_rates.h"
#include "launch/plan_report.h"
#include "launch/progress.h"
#include "launch/setup.h"
#include "launch/vocabulary.h"
#include "model/hugging_face.h"
#include "student/student_model.h"

namespace temper {

namespace {

class PlanCommand : public Command {
 public:
  std::string name() const override { return "plan"; }
  std::string summary() const override {
    return "from a short probe or given rates: ranks, payload, lookahead, what to expect";
  }

  void add_options(boost::program_options::options_description& options) override {
    run_.add_options(options, /*folder=*/false);
    plan_.add_options(options);
    data_.add_options(options);
    teacher_.add_options(options);
    student_.add_options(options);
    loss_.add_options(options);
    train_.add_options(options);
  }

  void validate() const override {
    run_.validate();
    plan_.validate();
    data_.validate();
    teacher_.validate();
    student_.validate();
    loss().validate();
    train_.validate();
    TORCH_CHECK_VALUE(
        plan_.given() || data_.source != "text" || data_.tokenizer != "sentencepiece",
        "--data.tokenizer sentencepiece would train a new tokenizer: plan with the finished one "
        "(a tokenizer.model), or with --data.source builtin and --data.vocab as large");
  }

  void run(const Invocation& invocation) override;

 private:
  LossConfig loss() const {
    LossConfig loss = loss_;
    loss.temperature = teacher_.temperature;
    return loss;
  }

  /// Where the teacher's weights will lie, for a student that is cut from it.
  std::string teacher_folder() const {
    return teacher_.train_steps > 0 ? "RUN.DIR/teacher" : teacher_.model.path;
  }
  std::vector<int> planned_nodes(const Machine& machine) const;
  void probe(const Communicator& world, const Machine& machine, PlanResult& plan);
  void fill_sizes(PlanResult& plan, double teacher_weights) const;

  RunConfig run_;
  PlanConfig plan_;
  DataConfig data_;
  TeacherConfig teacher_;
  StudentModel student_;
  LossConfig loss_;
  TrainConfig train_;

  TransformerConfig teacher_shape_, student_shape_;
};

/// The node of each planned rank.
std::vector<int> PlanCommand::planned_nodes(const Machine& machine) const {
  const auto at_hand = static_cast<int64_t>(machine.node_of_rank.size());
  if (plan_.ranks_per_node == 0 && (plan_.ranks == 0 || plan_.ranks == at_hand))
    return machine.node_of_rank;
  const int64_t ranks = plan_.ranks > 0 ? plan_.ranks : at_hand;
  const int64_t per_node = plan_.ranks_per_node > 0 ? plan_.ranks_per_node : ranks;
  std::vector<int> nodes;
  for (int64_t rank = 0; rank < ranks; ++rank) nodes.push_back(static_cast<int>(rank / per_node));
  return nodes;
}

/// Measures the rates on the ranks at hand.
void PlanCommand::probe(const Communicator& world, const Machine& machine, PlanResult& plan) {
  choose_tokenizer(data_, teacher_.model.path.empty() ? student_.folder() : teacher_.model.path);
  const std::unique_ptr<Corpus> corpus = open_corpus_everywhere(data_, "", world);
  const bool alone = world.size() == 1;
  const auto ranks = static_cast<int64_t>(world.size());
  ProbeJob job{world,        machine,      *corpus,  {},     {},
               std::nullopt, std::nullopt, teacher_, loss(), train_};
  agree(world, [&] {
    const int64_t teachers = alone                      ? 0
                             : plan_.probe_teachers > 0 ? plan_.probe_teachers
                                                        : std::max<int64_t>(1, ranks / 2);
    TORCH_CHECK_VALUE(alone || teachers < ranks, "--plan.probe-teachers is ", teachers,
                      ": no student is left of ", ranks, " ranks; give fewer");
    job.placement = place(static_cast<int>(teachers), machine.node_of_rank);
    const int64_t planned = plan_.ranks > 0 ? plan_.ranks : ranks;
    job.students = alone ? std::max<int64_t>(1, planned / 2) : ranks - teachers;
    job.students = std::min(job.students, train_.batch);
    teacher_shape_ = teacher_.model.resolve(corpus->vocab());
    student_shape_ = student_.resolve({teacher_shape_, teacher_folder()}, corpus->vocab());
    fit_vocabulary(*corpus, "teacher", teacher_.model.path, teacher_shape_);
    fit_vocabulary(*corpus, "student", student_.folder(), student_shape_);
    check_fit(teacher_shape_, "teacher", teacher_.model.path, *corpus, train_.seq);
    check_fit(student_shape_, "student", student_.folder(), *corpus, train_.seq);
    check_parts(*corpus, train_.seq, /*training=*/true);
    job.teacher_shape = teacher_shape_;
    if (alone || job.placement.is_teacher(world.rank())) {
      if (teacher_.model.path.empty()) {
        job.teacher.emplace(teacher_shape_, at::kFloat, machine.device);
        job.teacher->init_weights(1);
      } else {
        LoadOptions load;
        load.device = machine.device;
        load.dtype = std::nullopt;
        load.vocab = teacher_shape_.vocab;
        job.teacher.emplace(load_model(teacher_.model.path, load));
      }
    }
    if (alone || !job.placement.is_teacher(world.rank())) {
      // How fast a student learns does not depend on what it knows.
      job.student.emplace(student_shape_, at::kFloat, machine.device);
      job.student->init_weights(1);
    }
    for (const Payload payload : plan_.payload_list())
      planned_spec(payload, teacher_shape_, teacher_, run_.compute()).validate();
  });
  job.compute = run_.compute();
  job.steps = plan_.probe_steps;
  job.payloads = plan_.payload_list();
  if (world.rank() == 0) {
    say("data    " + corpus->describe());
    say("teacher " + describe_model(teacher_shape_));
    say("student " + describe_model(student_shape_));
    if (!machine.note.empty()) say("note    " + machine.note);
  }
  const double weights =
      job.teacher ? static_cast<double>(job.teacher->flat_weights().nbytes()) : 0;
  const ProbeResult probed = run_probe(job);
  plan.rates = probed.payloads;
  plan.cluster.update_seconds = probed.update_seconds;
  plan.cluster.node_bytes_per_s = probed.node_bytes_per_s;
  plan.cluster.link_bytes_per_s = probed.link_bytes_per_s;
  plan.source =
      alone ? format(
                  "measured on one rank, teacher and student one after the other, "
                  "%d thread%s, %lld steps",
                  machine.threads, machine.threads == 1 ? "" : "s",
                  static_cast<long long>(plan_.probe_steps))
            : format(
                  "measured on %zu teacher and %zu student ranks at once, %d "
                  "thread%s each, %lld steps",
                  job.placement.teachers.size(), job.placement.students.size(), machine.threads,
                  machine.threads == 1 ? "" : "s", static_cast<long long>(plan_.probe_steps));
  fill_sizes(plan, world.all_reduce(weights, Reduce::kMax));
}

void PlanCommand::fill_sizes(PlanResult& plan, double teacher_weights) const {
  for (PayloadRates& rates : plan.rates) {
    const PayloadSpec spec = planned_spec(rates.payload, teacher_shape_, teacher_, run_.compute());
    rates.sizes.teacher_weights = teacher_weights;
    rates.sizes.student_state = training_bytes(student_shape_, train_.optimizer);
    rates.sizes.teacher_head = head_bytes(spec);
  }
  plan.cluster.gradient_bytes = static_cast<double>(student_shape_.parameter_count()) * 4;
}

void PlanCommand::run(const Invocation& invocation) {
  const Communicator& world = invocation.world;
  if (world.size() == 1 && run_.threads == 0 && plan_.ranks_per_node > 0) {
    // What one of so many ranks will have.
    run_.threads = std::max<int64_t>(
        1, static_cast<int64_t>(std::thread::hardware_concurrency()) / plan_.ranks_per_node);
  }
  const Machine machine = set_up_machine(run_, world);
  PlanResult plan;
  std::vector<int> nodes;
  agree(world, [&] {
    nodes = planned_nodes(machine);
    TORCH_CHECK_VALUE(nodes.size() >= 2 || plan_.teachers == 0, "--plan.teachers is ",
                      plan_.teachers, " with one rank: give --plan.ranks");
    TORCH_CHECK_VALUE(plan_.teachers < static_cast<int64_t>(nodes.size()), "--plan.teachers is ",
                      plan_.teachers, ": no student is left of ", nodes.size(),
                      " ranks; give fewer teachers or more --plan.ranks");
    if (plan_.given() || invocation.dry_run) {
      teacher_shape_ = teacher_.model.resolve(planned_vocab(data_, teacher_.model));
      student_shape_ = student_.resolve({teacher_shape_, teacher_folder()}, teacher_shape_.vocab);
    }
  });
  if (invocation.dry_run) {
    if (world.rank() == 0) {
      std::printf("%s\nTeacher: %s\nStudent: %s\n", invocation.ini.c_str(),
                  describe_model(teacher_shape_).c_str(), describe_model(student_shape_).c_str());
    }
    return;
  }
  if (plan_.given()) {
    for (const Payload payload : plan_.payload_list()) {
      PayloadRates rates;
      rates.payload = payload;
      rates.bytes = static_cast<double>(
          planned_spec(payload, teacher_shape_, teacher_, run_.compute()).bytes_per_token());
      plan.rates.push_back(rates);
    }
    if (plan_.flops > 0) {
      set_rates_from_flops(plan.rates, teacher_shape_, student_shape_, train_.seq,
                           plan_.flops * plan_.utilisation);
      plan.source = format("from %.3g FLOP/s a rank, of which models reach %.0f%%", plan_.flops,
                           100 * plan_.utilisation);
    } else {
      set_rates_from_tokens(plan.rates, teacher_shape_, student_shape_, train_.seq,
                            plan_.teacher_tokens_per_s, plan_.student_tokens_per_s);
      plan.source = format("given: a teacher rank %s tokens/s, a student rank %s",
                           count_text(plan_.teacher_tokens_per_s).c_str(),
                           count_text(plan_.student_tokens_per_s).c_str());
    }
    const double width = run_.precision == "bf16" ? 2 : 4;
    fill_sizes(plan, static_cast<double>(teacher_shape_.parameter_count()) *
                         (teacher_.model.path.empty() ? 4 : width));
  } else {
    probe(world, machine, plan);
  }
  if (plan_.link_gbit > 0) plan.cluster.link_bytes_per_s = plan_.link_gbit * 1e9 / 8 * kLinkGoodput;
  if (plan_.node_gbyte_s > 0) plan.cluster.node_bytes_per_s = plan_.node_gbyte_s * 1e9;
  if (plan.cluster.node_bytes_per_s == 0) plan.cluster.node_bytes_per_s = kNodeBytesPerSecond;
  plan.cluster.latency_s = plan_.latency_us * 1e-6;
  plan.memory_bytes = plan_.memory_gib * 1024 * 1024 * 1024;
  if (world.rank() != 0) return;
  fill_predictions(plan, {train_.batch, train_.micro_batch, train_.seq}, nodes, plan_.teachers,
                   teacher_.lookahead);
  if (invocation.json) {
    std::printf("%s\n", to_json(plan).dump(2).c_str());
  } else {
    std::fputs(to_text(plan).c_str(), stdout);
  }
}

}  // namespace

std::unique_ptr<Command> make_plan_command() { return std::make_unique<PlanCommand>(); }

}  // namespace temper
