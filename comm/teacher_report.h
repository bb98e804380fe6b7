// What a teacher rank tells the first student after each step, for the log: how long it worked and
// how long it waited.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/mpi/communicator.h"
#include "comm/placement.h"

namespace temper {

struct TeacherReport {
  double seconds = 0;       ///< of the teacher's step
  double wait_seconds = 0;  ///< of these, waiting for students (no credit)
  bool stop = false;        ///< the teacher was asked to stop
  bool last = false;        ///< the teacher's closing word: it has served all that it will
  /// Of a sum: seconds of each teacher's own work, in the order of Placement::teachers.
  std::vector<double> busy_seconds = {};
};

/// A teacher's part: sends without waiting. The request must be kept until it is complete.
Request send_report(const Communicator& world, const Placement& placement,
                    const TeacherReport& report);

/// The first student's part, once a step: the reports of all teachers, summed; `stop` if any was
/// asked to. Waits for them.
TeacherReport receive_reports(const Communicator& world, const Placement& placement);

/// The first student's part, after its last step: takes what teachers that ran ahead have reported
/// beyond it, until the closing word of each.
void drain_reports(const Communicator& world, const Placement& placement);

}  // namespace temper
