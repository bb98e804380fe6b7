#include "launch/memory_model.h"

#include <c10/core/ScalarType.h>

namespace temper {

double training_bytes(const TransformerConfig& model, const TrainConfig& train,
                      at::ScalarType compute, int64_t ranks) {
  const double cast = compute == at::kFloat ? 0 : static_cast<double>(c10::elementSize(compute));
  const double moments = train.optimizer == "adamw" ? 8 : 0;
  return static_cast<double>(model.parameter_count()) *
         (8 + cast + moments / static_cast<double>(train.shard_optimizer ? ranks : 1));
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
  if (teachers == 0) {
    memory.student_buffers = sizes.message;
    memory.student =
        sizes.teacher_weights + sizes.student_state + sizes.message + sizes.teacher_head;
    return memory;
  }
  const int64_t ring = (lookahead + teachers) / teachers;  // ceil((D + 1) / M)
  memory.teacher_buffers = sizes.message * static_cast<double>(ring * students);
  memory.student_buffers = sizes.message * static_cast<double>(lookahead + 1);
  memory.teacher = sizes.teacher_weights + memory.teacher_buffers;
  memory.student = sizes.student_state + memory.student_buffers + sizes.teacher_head;
  return memory;
}

}  // namespace temper
