#include "comm/teacher_report.h"

#include <ATen/ATen.h>

#include "comm/activity.h"

namespace temper {

namespace {
constexpr int kReportTag = 17;
}

Request send_report(const Communicator& world, const Placement& placement,
                    const TeacherReport& report) {
  at::Tensor values = at::tensor({report.seconds, report.wait_seconds}, at::kDouble);  // (2)
  return world.send_async(std::move(values), placement.students.front(), kReportTag);
}

TeacherReport receive_reports(const Communicator& world, const Placement& placement) {
  TeacherReport sum;
  for (const int teacher : placement.teachers) {
    Request request = world.receive_async(at::empty({2}, at::kDouble), teacher, kReportTag);
    const Waiting waiting(Operation::kReport, teacher);
    const double* values = request.wait().const_data_ptr<double>();
    sum.seconds += values[0];
    sum.wait_seconds += values[1];
    sum.busy_seconds.push_back(values[0] - values[1]);
  }
  return sum;
}

}  // namespace temper
