#include "comm/teacher_report.h"

#include <ATen/ATen.h>

#include "comm/activity.h"

namespace temper {

namespace {
constexpr int kReportTag = 17;

TeacherReport receive(const Communicator& world, int teacher) {
  Request request = world.receive_async(at::empty({4}, at::kDouble), teacher, kReportTag);
  const Waiting waiting(Operation::kReport, teacher);
  const double* values = request.wait().const_data_ptr<double>();
  return {.seconds = values[0],
          .wait_seconds = values[1],
          .stop = values[2] != 0,
          .last = values[3] != 0};
}
}  // namespace

Request send_report(const Communicator& world, const Placement& placement,
                    const TeacherReport& report) {
  at::Tensor values =
      at::tensor({report.seconds, report.wait_seconds, double(report.stop), double(report.last)},
                 at::kDouble);  // (4)
  return world.send_async(std::move(values), placement.students.front(), kReportTag);
}

TeacherReport receive_reports(const Communicator& world, const Placement& placement) {
  TeacherReport sum;
  for (const int teacher : placement.teachers) {
    const TeacherReport report = receive(world, teacher);
    sum.seconds += report.seconds;
    sum.wait_seconds += report.wait_seconds;
    sum.busy_seconds.push_back(report.seconds - report.wait_seconds);
    sum.stop = sum.stop || report.stop;
  }
  return sum;
}

void drain_reports(const Communicator& world, const Placement& placement) {
  for (const int teacher : placement.teachers) {
    while (!receive(world, teacher).last) {
    }
  }
}

}  // namespace temper
