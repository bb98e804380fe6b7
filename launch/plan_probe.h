// What this machine does: teacher and student measured on the real models, at once on different
// ranks, with nothing travelling between them.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "data/corpus.h"
#include "launch/machine.h"
#include "launch/throughput_model.h"
#include "model/transformer.h"
#include "student/loss.h"
#include "student/train_config.h"
#include "teacher/teacher_config.h"

namespace temper {

/// What is probed. The references must outlive the call.
struct ProbeJob {
  const Communicator& world;
  const Machine& machine;
  const Corpus& corpus;
  Placement placement;  ///< of the probe; colocated only where the world is one rank
  TransformerConfig teacher_shape, student_shape;
  std::optional<Transformer> teacher;  ///< on teacher ranks (and alone)
  std::optional<Transformer> student;  ///< on student ranks (and alone); it is trained
  TeacherConfig teacher_config;
  LossConfig loss;
  TrainConfig train;     ///< batch is that of the job; the probe takes one student's share of it
  int64_t students = 1;  ///< among which the batch is shared
  at::ScalarType compute = at::kFloat;
  uint64_t seed = 1;
  int64_t steps = 20;
  std::vector<Payload> payloads = {};
};

struct ProbeResult {
  std::vector<PayloadRates> payloads;  ///< without sizes
  double update_seconds = 0;
  double node_bytes_per_s = 0;  ///< 0: one student, not measured
  double link_bytes_per_s = 0;  ///< 0: no teacher and student on different nodes
};

/// Runs the probe; the same result on every rank. With several ranks, teachers encode into a buffer
/// and students train on canned soft targets at the same time, so that caches and memory are shared
/// as in the real job; a rank that has its steps goes on working until all have theirs. With one
/// rank, one after the other. A rate is the median over the steps of a rank, of the slowest rank.
/// Then, with everybody else idle: the gradient's all-reduce, and a message between a teacher and a
/// student of one node, and of two nodes. Collective. Changes the student's weights.
ProbeResult run_probe(ProbeJob& job);

/// The payload of a job with these options.
PayloadSpec planned_spec(Payload payload, const TransformerConfig& teacher,
                         const TeacherConfig& config, at::ScalarType compute);

}  // namespace temper
