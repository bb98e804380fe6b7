// --dry-run: what a command would do, with the arithmetic of memory, tokens and FLOPs, and nothing
// else.
#pragma once

#include <string>

#include "comm/placement.h"
#include "data/data_config.h"
#include "launch/machine.h"
#include "launch/run_config.h"
#include "model/model_config.h"
#include "student/evaluation_config.h"
#include "student/train_config.h"
#include "teacher/store_index.h"
#include "teacher/teacher_config.h"

namespace temper {

/// "llama, 4 layers x 256, 4 heads, vocabulary 256: 3.21M weights".
std::string describe_model(const TransformerConfig& config);

/// The vocabulary that the data will have, without reading them: of the model's folder if there is
/// one, else as configured.
int64_t planned_vocab(const DataConfig& data, const ModelConfig& model);

void print_train_plan(const std::string& ini, const Machine& machine, int ranks,
                      const TransformerConfig& model, const TrainConfig& train,
                      at::ScalarType compute);

/// `store`: of recorded soft targets to be replayed; empty: the teacher makes them.
void print_distill_plan(const std::string& ini, const Machine& machine, const Placement& placement,
                        const TransformerConfig& teacher_shape,
                        const TransformerConfig& student_shape, const TeacherConfig& teacher,
                        const TrainConfig& train, const RunConfig& run, const std::string& store);

/// `store`: the index as far as it is known without opening a file; `teacher`, `compute`: how the
/// weights are kept.
void print_record_plan(const std::string& ini, const Machine& machine,
                       const TransformerConfig& teacher_shape, const StoreIndex& store,
                       const TeacherConfig& teacher, at::ScalarType compute);

void print_held_out_plan(const std::string& ini, const Machine& machine,
                         const TransformerConfig& model, int64_t seq,
                         const EvaluationConfig& evaluation);

}  // namespace temper
