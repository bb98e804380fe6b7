// Soft targets by MPI messages through host memory: serves every pair, across nodes too.
#pragma once

#include <memory>

#include "comm/mpi/communicator.h"
#include "comm/soft_target_link.h"

namespace temper {

/// `world` must outlive the links; `teacher` and `student` are its ranks. A receive is posted into
/// the slot itself before its credit leaves, so no message comes unexpected and none is copied
/// twice.
std::unique_ptr<StudentLink> make_message_student_link(const Communicator& world, int teacher);

/// `ring` buffers of the teacher's own, for messages of `config`.
std::unique_ptr<TeacherLink> make_message_teacher_link(const Communicator& world, int student,
                                                       const ChannelConfig& config, int64_t ring);

}  // namespace temper
