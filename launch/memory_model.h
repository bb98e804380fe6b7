// What a rank of a distillation holds in memory, apart from activations: the arithmetic of
// --dry-run and of temper plan.
#pragma once

#include <cstdint>

#include "comm/payload.h"
#include "model/transformer_config.h"
#include "student/train_config.h"
#include "teacher/teacher_config.h"

namespace temper {

/// What training keeps of a model, in bytes.
struct TrainingSizes {
  double weights = 0;    ///< and gradients, both fp32; the weights also in a narrower compute dtype
  double moments = 0;    ///< the optimizer's, of the whole model (AdamW: two, sgd: none)
  bool sharded = false;  ///< a rank has its share of the moments alone (train.shard-optimizer)

  /// Of one of `ranks` ranks.
  double of_rank(int64_t ranks) const {
    return weights + moments / static_cast<double>(sharded ? ranks : 1);
  }
};
TrainingSizes training_sizes(const TransformerConfig& model, const TrainConfig& train,
                             at::ScalarType compute);

/// The teacher's weights, as a run in `compute` keeps those that come in fp32.
double teacher_bytes(const TransformerConfig& model, const TeacherConfig& teacher,
                     at::ScalarType compute);

/// What students keep of the teacher's head with the payload hidden, (V, C) in the compute
/// dtype; 0 with the other payloads.
double head_bytes(const PayloadSpec& payload, at::ScalarType compute);

/// What the memory of both roles depends on, in bytes. A message is one micro-batch of soft
/// targets.
struct DistillSizes {
  double teacher_weights = 0;
  TrainingSizes student;
  double message = 0;
  double teacher_head = 0;  ///< what students keep of the teacher's head (payload hidden), or 0
};

/// Bytes of one rank of each role. Colocated: `student` is the whole rank, `teacher` is 0.
struct RankMemory {
  double teacher_buffers = 0;
  double student_buffers = 0;
  double teacher = 0;
  double student = 0;
};

/// Students share the moments of a sharded optimizer. `teachers` 0: colocated, one message and no
/// ring. Otherwise a student has D + 1 buffers (D: lookahead), and a teacher, for each of its
/// students, ceil((D + 1) / teachers): the rings of comm/soft_target_channel.h.
RankMemory rank_memory(const DistillSizes& sizes, int64_t teachers, int64_t students,
                       int64_t lookahead);

}  // namespace temper
