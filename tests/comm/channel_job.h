// A small distillation without models: teachers stream logits that are a function of (step, row,
// position, entry), students check every value. It stands in for the real job in the tests of the
// channel.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/mpi/communicator.h"
#include "comm/placement.h"
#include "comm/soft_target_channel.h"

namespace temper {

struct ChannelJob {
  std::vector<int> teachers;
  std::vector<int> students;
  std::vector<std::vector<int>> turns;   ///< of Placement
  std::vector<int64_t> rows_of_student;  ///< rows of the global batch that each student owns
  int64_t steps = 4;
  int64_t micro_batch = 2;
  ChannelConfig config{.seq = 3, .payload = {.vocab = 17}, .temperature = 2.0};
  int64_t teacher_delay_us = 0;  ///< before each micro-batch
  int64_t student_delay_us = 0;  ///< within each micro-batch
  uint64_t random_delays = 0;    ///< seed: each delay is then drawn up to these bounds
  int64_t teacher_batch = 1;     ///< micro-batches that a teacher takes at once, if it may
  TransportOptions transport;
};

struct ChannelJobResult {
  int64_t units = 0;  ///< that this rank served or consumed
  int64_t bytes = 0;  ///< received by this student
  double wait_seconds = 0;
  LookaheadFill fill;        ///< of this student
  int64_t most_at_once = 0;  ///< micro-batches that this teacher held together
};

/// Ids of `rows` rows from `first_row` of a step.
at::Tensor job_tokens(int64_t step, int64_t first_row, int64_t rows, int64_t seq);  // (rows, S)
/// What a teacher sends for them.
at::Tensor job_logits(const ChannelConfig& config, int64_t step, int64_t first_row,
                      int64_t rows);  // (rows, S, V)
SoftTargetHeader job_header(const ChannelConfig& config, int64_t step, int64_t first_row,
                            int64_t rows);

/// Plays this rank's part, if it has one, and checks with GoogleTest that contents are right and
/// that no message is left over. Collective over `world`.
ChannelJobResult run_job(const Communicator& world, ChannelJob job);

}  // namespace temper
