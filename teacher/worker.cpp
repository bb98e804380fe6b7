#include "teacher/worker.h"

#include <ATen/ATen.h>

#include <chrono>
#include <deque>
#include <utility>

#include "comm/activity.h"
#include "comm/own_tokens.h"
#include "comm/teacher_report.h"

namespace temper {
namespace {

struct Work {
  int student = 0;  // index
  MicroBatchId id;
};

/// The micro-batches that one teacher serves, in the order of all teachers: (step, micro-batch,
/// student).
class WorkQueue {
 public:
  WorkQueue(const WorkPlan& plan, const Placement& placement, int rank)
      : plan_(plan), placement_(placement), rank_(rank), step_(plan.first_step) {
    const int students = static_cast<int>(placement.students.size());
    for (int student = 0; student < students; ++student)
      units_.push_back(plan.units(student, students));
  }

  /// The next one, or null after the last.
  const Work* next() {
    while (queue_.empty() && step_ < plan_.steps) fill(step_++);
    return queue_.empty() ? nullptr : &queue_.front();
  }
  Work take() {
    const Work work = queue_.front();
    queue_.pop_front();
    return work;
  }

 private:
  void fill(int64_t step) {
    size_t most = 0;
    for (const std::vector<RowRange>& own : units_) most = std::max(most, own.size());
    for (size_t j = 0; j < most; ++j) {
      for (size_t student = 0; student < units_.size(); ++student) {
        const std::vector<RowRange>& own = units_[student];
        if (j >= own.size()) continue;
        const int64_t unit = (step - plan_.first_step) * static_cast<int64_t>(own.size()) +
                             static_cast<int64_t>(j);  // of this job
        const int index = static_cast<int>(student);
        if (placement_.teacher_of(index, unit) != rank_) continue;
        queue_.push_back({index, {.step = step, .first_row = own[j].begin, .rows = own[j].size()}});
      }
    }
  }

  const WorkPlan& plan_;
  const Placement& placement_;
  int rank_;
  std::vector<std::vector<RowRange>> units_;  // of one step, by student
  std::deque<Work> queue_;
  int64_t step_;
};

/// Tells the first student after each step how long this teacher worked and waited.
class Reporter {
 public:
  Reporter(const Communicator& world, const Placement& placement, int64_t first_step,
           const std::function<bool()>& asked_to_stop)
      : world_(world),
        placement_(placement),
        asked_to_stop_(asked_to_stop),
        reported_(first_step) {}

  /// Reports all steps before `step` that were not. Where a forward pass went over the end of
  /// steps, they share its time.
  void report_before(int64_t step, SoftTargetSender& sender) {
    const auto count = static_cast<double>(step - reported_);
    if (count == 0) return;
    const auto now = Clock::now();
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double wait_seconds = sender.take_wait_seconds();
    for (; reported_ < step; ++reported_) {
      request_.wait();
      request_ = send_report(world_, placement_,
                             {.seconds = seconds / count,
                              .wait_seconds = wait_seconds / count,
                              .stop = asked_to_stop_ && asked_to_stop_()});
    }
    start_ = now;
  }
  void finish() {
    request_.wait();
    send_report(world_, placement_, {.last = true}).wait();
  }

 private:
  using Clock = std::chrono::steady_clock;
  const Communicator& world_;
  const Placement& placement_;
  const std::function<bool()>& asked_to_stop_;
  Clock::time_point start_ = Clock::now();
  Request request_;
  int64_t reported_;
};

/// One micro-batch of a forward pass.
struct Held {
  Work work;
  at::Tensor tokens;  // (B, S)
  PayloadView out;
};

}  // namespace

std::vector<RowRange> WorkPlan::units(int student, int students) const {
  const RowRange rows = share(batch, student, students);
  return micro_batches(rows, micro_batch > 0 ? micro_batch : std::max<int64_t>(1, rows.size()));
}

void serve_soft_targets(const TeacherInference& inference, const Corpus& corpus,
                        const WorkPlan& plan, const SoftTargetTransports& transports, int64_t batch,
                        const std::function<bool(int64_t step)>& own_tokens,
                        const ServingHooks& hooks) {
  const InPhase serving(Phase::kServing);
  const at::NoGradGuard no_grad;
  const Communicator& world = transports.world();
  const Placement& placement = transports.placement();
  WorkQueue queue(plan, placement, world.rank());
  SoftTargetSender sender(transports);
  Reporter reporter(world, placement, plan.first_step, hooks.asked_to_stop);
  // Note [Progress] in student/training_step.cpp.
  std::function<void()> progress;
  if (inference.on_cpu()) progress = [&sender] { sender.progress(); };
  const auto comes = [&](const Work& work) { return own_tokens && own_tokens(work.id.step); };
  const auto read = [&](const Work& work) {
    const MicroBatchId& id = work.id;
    if (comes(work)) {
      return receive_own_tokens(world, placement.students[static_cast<size_t>(work.student)],
                                id.rows, plan.seq, [&sender] { sender.progress(); });
    }
    return corpus
        .read(Part::kTrain, plan.seed, id.step * plan.batch + id.first_row, id.rows, plan.seq)
        .tokens;  // (B, S)
  };

  while (const Work* first = queue.next()) {
    reporter.report_before(first->id.step, sender);
    // Before the ids of its rows are waited for: where the stream has ended, none will come.
    if (!sender.await(first->student)) break;
    activity().step = first->id.step;
    std::vector<Held> pass;
    at::Tensor tokens = read(*first);  // (B, S)
    int64_t rows = first->id.rows;
    pass.push_back({*first, tokens, sender.acquire(first->student, rows)});
    queue.take();
    while (const Work* more = queue.next()) {
      // Who waits for ids must hold nothing back: Note [Own tokens].
      if (rows + more->id.rows > batch || comes(*more)) break;
      const auto out = sender.try_acquire(more->student, more->id.rows);
      if (!out) break;
      rows += more->id.rows;
      pass.push_back({*more, read(*more), *out});
      queue.take();
    }
    if (pass.size() > 1) {
      std::vector<at::Tensor> parts;
      for (const Held& held : pass) parts.push_back(held.tokens);
      tokens = at::cat(parts);  // (sum of B, S)
    }
    const at::Tensor hidden = inference.hidden(tokens, progress);  // (sum of N, C)
    int64_t begin = 0;
    for (const Held& held : pass) {
      const MicroBatchId& id = held.work.id;
      const int64_t n = id.rows * plan.seq;
      const at::Tensor own = hidden.narrow(0, begin, n);  // (N, C)
      if (hooks.on_hidden) hooks.on_hidden(id.step, own);
      inference.encode(id, own, held.out, progress);
      sender.send(held.work.student, make_header(transports.config(), id, held.tokens));
      if (hooks.on_sent) hooks.on_sent(id.step);
      begin += n;
    }
    sender.progress();
  }
  if (queue.next() == nullptr) reporter.report_before(plan.steps, sender);
  // Where the stream has ended, every student says so that has units left of this teacher.
  for (; const Work* left = queue.next(); queue.take())
    TORCH_CHECK(!sender.await(left->student), "student ", left->student,
                " goes on with a stream that another has ended");
  sender.finish();
  reporter.finish();
  activity().step = -1;
}

}  // namespace temper
