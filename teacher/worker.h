// A teacher rank's whole job: makes the soft targets of every micro-batch that is its turn, several
// in one forward pass where it may, and sends them ahead of the students.
#pragma once

#include <functional>

#include "comm/soft_target_channel.h"
#include "data/corpus.h"
#include "teacher/inference.h"

namespace temper {

/// Which micro-batches there are: both roles derive them from the same numbers.
struct WorkPlan {
  int64_t steps = 0;
  int64_t batch = 0;        ///< sequences per step, over all students
  int64_t micro_batch = 0;  ///< 0: a student's whole share at once
  int64_t seq = 0;
  uint64_t seed = 0;       ///< of the data's order
  int64_t first_step = 0;  ///< of a run that goes on: those before are done

  /// Micro-batches of a student in each step, as rows of the global batch.
  std::vector<RowRange> units(int student, int students) const;
};

/// What else happens while a teacher serves; each may be empty.
struct ServingHooks {
  /// Whether this rank was asked to stop: the first student learns of it with the reports, and
  /// students end the stream.
  std::function<bool()> asked_to_stop;
  /// Called with each micro-batch's last hidden states (N, C) before its soft targets are made (for
  /// injected faults).
  std::function<void(int64_t step, const at::Tensor& hidden)> on_hidden;
  /// Called when a micro-batch has been sent, and may be under way (for injected faults).
  std::function<void(int64_t step)> on_sent;
};

/// Serves all students for all steps from plan.first_step on, or until they end the stream. Called
/// by every teacher rank; ends when its last message has left. A forward pass takes the teacher's
/// next micro-batches, as far as their credits have come, up to `batch` sequences (0, or fewer than
/// one micro-batch has: one micro-batch). After each step it reports its waiting time to the first
/// student. Where
/// `own_tokens(step)` says so (empty: never) students have written the input of the step
/// themselves, and it comes from them; such a micro-batch begins a forward pass of its own.
void serve_soft_targets(const TeacherInference& inference, const Corpus& corpus,
                        const WorkPlan& plan, const SoftTargetTransports& transports, int64_t batch,
                        const std::function<bool(int64_t step)>& own_tokens = {},
                        const ServingHooks& hooks = {});

}  // namespace temper
