// Soft targets through shared memory: the teacher's matrix product writes into the student's ring
// itself, and two counters say who may touch what. No byte is copied.
#pragma once

#include <memory>

#include "comm/shared_ring.h"
#include "comm/soft_target_link.h"

namespace temper {

/// `teacher` is the pair's index within `ring`; whose rank is in messages of errors. The memory of
/// the ring must outlive the links and whatever buffers they handed out. A later pair of links over
/// the same ring goes on where the first one stopped, if every granted message was taken and the
/// stream was not ended.
std::unique_ptr<StudentLink> make_shared_student_link(const SharedRing& ring, int64_t teacher);

/// `buffer_bytes`: of a buffer as this teacher lays it out, `student_rank` for messages of errors.
std::unique_ptr<TeacherLink> make_shared_teacher_link(const SharedRing& ring, int64_t teacher,
                                                      int64_t buffer_bytes, int student_rank);

}  // namespace temper
