#include "launch/memory_model.h"

#include <c10/core/ScalarType.h>

namespace temper {

TrainingSizes training_sizes(const TransformerConfig& model, const TrainConfig& train,
                             at::ScalarType compute) {
  const double cast = compute == at::kFloat ? 0 : static_cast<double>(c10::elementSize(compute));
  const auto count = static_cast<double>(model.parameter_count());
  return {.weights = count * (8 + cast),
          .moments = count * (train.optimizer == "adamw" ? 8 : 0),
          .sharded = train.shard_optimizer};
}

double teacher_bytes(const TransformerConfig& model, const TeacherConfig& teacher,
                     at::ScalarType compute) {
  const at::ScalarType kept = teacher.weights_dtype(compute).value_or(at::kFloat);
  return static_cast<double>(model.parameter_count()) * static_cast<double>(c10::elementSize(kept));
}

double head_bytes(const PayloadSpec& payload, at::ScalarType compute) {
  if (payload.kind != Payload::kHidden) return 0;
  return static_cast<double>(payload.vocab * payload.width) *
         static_cast<double>(c10::elementSize(compute));
}

RankMemory rank_memory(const DistillSizes& sizes, int64_t teachers, int64_t students,
                       int64_t lookahead) {
  RankMemory memory;
  const double state = sizes.student.of_rank(students);
  if (teachers == 0) {
    memory.student_buffers = sizes.message;
    memory.student = sizes.teacher_weights + state + sizes.message + sizes.teacher_head;
    return memory;
  }
  const int64_t ring = (lookahead + teachers) / teachers;  // ceil((D + 1) / M)
  memory.teacher_buffers = sizes.message * static_cast<double>(ring * students);
  memory.student_buffers = sizes.message * static_cast<double>(lookahead + 1);
  memory.teacher = sizes.teacher_weights + memory.teacher_buffers;
  memory.student = state + memory.student_buffers + sizes.teacher_head;
  return memory;
}

}  // namespace temper
