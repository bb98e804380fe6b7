// temper plan: how many teacher and student ranks, which payload and lookahead, and what to expect
// of them; from a short probe of the real models, or from rates that the user gives.
#include <ATen/ATen.h>

#include <thread>

#include "comm/agree.h"
#include "launch/command.h"
#include "launch/distill_config.h"
#include "launch/distill_inputs.h"
#include "launch/dry_run.h"
#include "launch/plan_config.h"
#include "launch/plan_probe.h"
#include "launch/plan_rates.h"
#include "launch/plan_report.h"
#include "launch/progress.h"
#include "launch/setup.h"

namespace temper {

namespace {

class PlanCommand : public Command {
 public:
  std::string name() const override { return "plan"; }
  std::string summary() const override {
    return "from a short probe or given rates: ranks, payload, lookahead, what to expect";
  }

  void add_options(boost::program_options::options_description& options) override {
    config_.add_options(options);
    plan_.add_options(options);
  }

  void check_models() const override { config_.check_models(); }
  bool prints_json() const override { return true; }

  void validate() const override {
    config_.validate();
    plan_.validate();
    std::vector<Payload> payloads = plan_.payload_list();
    payloads.push_back(payload_from_name(config_.teacher.payload));  // distill's own
    config_.teacher.check_used(payloads);
    config_.loss.check_used(payloads);
    const DataConfig& data = config_.data;
    TORCH_CHECK_VALUE(config_.store.empty(), "--teacher.store is ", config_.store,
                      ": a replay has no teacher ranks to plan; leave it out");
    TORCH_CHECK_VALUE(
        plan_.given() || data.source != "text" || data.tokenizer != "sentencepiece",
        "--data.tokenizer sentencepiece would train a new tokenizer: plan with the finished one "
        "(a tokenizer.model), or with --data.source builtin and --data.vocab as large");
  }

  void run(const Invocation& invocation) override;

 private:
  std::vector<int> planned_nodes(const Machine& machine) const;
  void probe(const Communicator& world, const Machine& machine, PlanResult& plan);
  void fill_sizes(PlanResult& plan, double teacher_weights) const;

  DistillConfig config_;
  PlanConfig plan_;
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
  const DistillInputs inputs = open_distill_inputs(config_, "", world);
  teacher_shape_ = inputs.teacher_shape;
  student_shape_ = inputs.student_shape;
  const bool alone = world.size() == 1;
  const auto ranks = static_cast<int64_t>(world.size());
  ProbeJob job{world,           machine,
               *inputs.corpus,  {},
               teacher_shape_,  student_shape_,
               std::nullopt,    std::nullopt,
               config_.teacher, config_.student_loss(),
               config_.train};
  agree(world, [&] {
    const int64_t teachers = alone                  ? 0
                             : config_.teachers > 0 ? config_.teachers
                                                    : std::max<int64_t>(1, ranks / 2);
    job.placement = planned_placement(teachers, machine.node_of_rank, config_.spread);
    const int64_t planned = plan_.ranks > 0 ? plan_.ranks : ranks;
    job.students = alone ? std::max<int64_t>(1, planned / 2) : ranks - teachers;
    job.students = std::min(job.students, config_.train.batch);
    if (alone || job.placement.is_teacher(world.rank())) {
      job.teacher.emplace(
          open_teacher(config_.teacher, teacher_shape_, 1, config_.run.compute(), machine.device));
    }
    if (alone || !job.placement.is_teacher(world.rank())) {
      // How fast a student learns does not depend on what it knows.
      job.student.emplace(student_shape_, at::kFloat, machine.device);
      job.student->init_weights(1);
    }
    for (const Payload payload : plan_.payload_list())
      planned_spec(payload, teacher_shape_, config_.teacher, job.compute).validate();
  });
  job.compute = config_.run.compute();
  job.steps = plan_.probe_steps;
  job.payloads = plan_.payload_list();
  if (world.rank() == 0) {
    say("data    " + inputs.corpus->describe());
    say("teacher " + describe_model(teacher_shape_));
    say("student " + describe_model(student_shape_));
    if (!machine.note.empty()) say("note    " + machine.note);
  }
  const double weights =
      job.teacher ? static_cast<double>(job.teacher->flat_weights().nbytes()) : 0;
  const ProbeResult probed = run_probe(job);
  job.teacher.reset();
  job.student.reset();
  plan.cores = measure_core_split(job);
  plan.rates = probed.payloads;
  plan.cluster.update_seconds = probed.update_seconds;
  plan.cluster.node_bytes_per_s = probed.node_bytes_per_s;
  plan.cluster.link_bytes_per_s = probed.link_bytes_per_s;
  plan.link_measured_bytes_per_s = probed.link_bytes_per_s;
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
    const PayloadSpec spec =
        planned_spec(rates.payload, teacher_shape_, config_.teacher, config_.run.compute());
    rates.sizes.teacher_weights = teacher_weights;
    rates.sizes.student = training_sizes(student_shape_, config_.train, config_.run.compute());
    rates.sizes.teacher_head = head_bytes(spec, config_.run.compute());
  }
  plan.cluster.gradient_bytes = static_cast<double>(student_shape_.parameter_count()) * 4;
}

void PlanCommand::run(const Invocation& invocation) {
  const Communicator& world = invocation.world;
  if (world.size() == 1 && config_.run.threads == 0 && plan_.ranks_per_node > 0) {
    // What one of so many ranks will have.
    config_.run.threads = std::max<int64_t>(
        1, static_cast<int64_t>(std::thread::hardware_concurrency()) / plan_.ranks_per_node);
  }
  const Machine machine = set_up_machine(config_.run, world);
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
      teacher_shape_ =
          config_.teacher.model.resolve(planned_vocab(config_.data, config_.teacher.model));
      student_shape_ = config_.student.resolve({teacher_shape_, config_.teacher_folder("RUN.DIR")},
                                               teacher_shape_.vocab);
    }
    if (invocation.dry_run && !plan_.given()) config_.data.check_files();
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
          planned_spec(payload, teacher_shape_, config_.teacher, config_.run.compute())
              .bytes_per_token());
      plan.rates.push_back(rates);
    }
    if (plan_.flops > 0) {
      set_rates_from_flops(plan.rates, teacher_shape_, student_shape_, config_.train.seq,
                           plan_.flops * plan_.utilisation);
      plan.source = format("from %.3g FLOP/s a rank, of which models reach %.0f%%", plan_.flops,
                           100 * plan_.utilisation);
    } else {
      set_rates_from_tokens(plan.rates, teacher_shape_, student_shape_, config_.train.seq,
                            plan_.teacher_tokens_per_s, plan_.student_tokens_per_s);
      plan.source = format("given: a teacher rank %s tokens/s, a student rank %s",
                           count_text(plan_.teacher_tokens_per_s).c_str(),
                           count_text(plan_.student_tokens_per_s).c_str());
    }
    fill_sizes(plan, teacher_bytes(teacher_shape_, config_.teacher, config_.run.compute()));
  } else {
    probe(world, machine, plan);
  }
  if (plan_.link_gbit > 0) plan.cluster.link_bytes_per_s = plan_.link_gbit * 1e9 / 8 * kLinkGoodput;
  if (plan_.node_gbyte_s > 0) plan.cluster.node_bytes_per_s = plan_.node_gbyte_s * 1e9;
  if (plan.cluster.node_bytes_per_s == 0) plan.cluster.node_bytes_per_s = kNodeBytesPerSecond;
  plan.cluster.latency_s = plan_.latency_us * 1e-6;
  plan.memory_bytes = plan_.memory_gib * 1024 * 1024 * 1024;
  if (world.rank() != 0) return;
  fill_predictions(plan, {config_.train.batch, config_.train.micro_batch, config_.train.seq}, nodes,
                   plan_.teachers, config_.teacher.lookahead, config_.spread);
  if (invocation.json) {
    std::printf("%s\n", to_json(plan).dump(2).c_str());
  } else {
    std::fputs(to_text(plan).c_str(), stdout);
  }
}

}  // namespace

std::unique_ptr<Command> make_plan_command() { return std::make_unique<PlanCommand>(); }

}  // namespace temper
