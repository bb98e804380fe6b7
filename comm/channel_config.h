// What both ends of the soft-target channel must know alike.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/payload.h"
#include "comm/schedule.h"

namespace temper {

struct ChannelConfig {
  int64_t max_rows = 0;  ///< rows of the largest micro-batch
  int64_t seq = 0;
  PayloadSpec payload;
  RunSchedule temperature = 1.0;
  uint64_t tokenizer = 0;  ///< fingerprint of the data's tokenizer, 0 where unknown
  int64_t lookahead = 2;   ///< micro-batches per student in flight; 0: a teacher begins when its
                           ///< student asks (lock-step)
};

/// What carries the soft targets of one pair of teacher and student.
enum class Transport {
  kAuto,      ///< the best that serves the pair
  kMessages,  ///< MPI messages, host memory; serves every pair
  kShared,    ///< the student's ring in memory that the teacher writes to; ranks of one node
  kNccl,      ///< NCCL between GPUs
};

/// auto, messages, shared, nccl.
const char* transport_name(Transport transport);
/// Throws c10::ValueError that lists the known names.
Transport transport_from_name(const std::string& name);

}  // namespace temper
