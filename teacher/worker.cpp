#include "teacher/worker.h"

#include <ATen/ATen.h>

#include <chrono>

#include "comm/teacher_report.h"

namespace temper {

std::vector<RowRange> WorkPlan::units(int student, int students) const {
  const RowRange rows = share(batch, student, students);
  return micro_batches(rows, micro_batch > 0 ? micro_batch : std::max<int64_t>(1, rows.size()));
}

void serve_soft_targets(const TeacherInference& inference, const Corpus& corpus,
                        const WorkPlan& plan, const Communicator& world, const Placement& placement,
                        const ChannelConfig& channel) {
  const at::NoGradGuard no_grad;
  const int students = static_cast<int>(placement.students.size());
  std::vector<std::vector<RowRange>> units;  // of one step, by student
  size_t most = 0;
  for (int student = 0; student < students; ++student) {
    units.push_back(plan.units(student, students));
    most = std::max(most, units.back().size());
  }

  SoftTargetSender sender(world, placement, channel);
  // Note [Progress] in student/training_step.cpp.
  std::function<void()> progress;
  if (inference.on_cpu()) progress = [&sender] { sender.progress(); };
  Request report;
  for (int64_t step = 0; step < plan.steps; ++step) {
    const auto start = std::chrono::steady_clock::now();
    for (size_t j = 0; j < most; ++j) {
      for (int student = 0; student < students; ++student) {
        const std::vector<RowRange>& own = units[static_cast<size_t>(student)];
        if (j >= own.size()) continue;
        const int64_t unit = step * static_cast<int64_t>(own.size()) + static_cast<int64_t>(j);
        if (placement.teacher_of(student, unit) != world.rank()) continue;
        const RowRange rows = own[j];
        const Batch batch = corpus.read(Part::kTrain, plan.seed, step * plan.batch + rows.begin,
                                        rows.size(), plan.seq);
        const MicroBatchId id{.step = step, .first_row = rows.begin, .rows = rows.size()};
        const PayloadView out = sender.acquire(student, rows.size());
        inference.soft_targets(id, batch.tokens, out, progress);
        sender.send(student, make_header(channel, id, batch.tokens));
      }
    }
    sender.progress();
    report.wait();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    report = send_report(world, placement, {seconds, sender.take_wait_seconds()});
  }
  sender.finish();
  report.wait();
}

}  // namespace temper
