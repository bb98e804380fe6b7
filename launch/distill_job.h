// A distillation under way: its stages, and what they share.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "comm/collectives.h"
#include "comm/soft_target_channel.h"
#include "launch/distill_config.h"
#include "launch/distill_inputs.h"
#include "launch/distill_summary.h"
#include "launch/resumption.h"
#include "launch/setup.h"
#include "launch/training.h"
#include "teacher/inference.h"
#include "teacher/worker.h"

namespace temper {

/// Every rank of `world` calls the same stages in the same order: each is collective.
class DistillJob {
 public:
  /// All arguments are kept by reference and must outlive the job. Collective.
  DistillJob(const DistillConfig& config, const Communicator& world, const Machine& machine,
             const Placement& placement, std::string dir, const DistillInputs& inputs,
             const Resumption& resumption);

  /// The stage of the run's own student, whose checkpoints lie in RUN/checkpoints.
  static constexpr const char* kMainStage = "distilled-1";
  static constexpr const char* kTeacherStage = "teacher";

  /// Opens the teacher, or trains it on all ranks, and measures it. Stages that were finished
  /// before the run was cut are not done again, here and below.
  void prepare_teacher();
  /// Learns which weights the students begin with, after prepare_teacher(): they may be layers of
  /// the teacher. A run goes on only with the same. Reads them once more, on one rank. Collective.
  void identify_first_weights();
  /// What carries soft targets between the roles, for a person; empty where colocated.
  std::string describe_stream() const;
  /// With the payload hidden, the students need the teacher's head. Sent once.
  void send_head();
  /// With --teacher.tee: makes the store that the first student's soft targets go to, or goes on
  /// with it, unless that student is finished. `ini` is the resolved configuration.
  void open_tee(const std::string& ini);
  /// One student on soft targets. The first is the run's student: saved with its temperature as
  /// soon as it has one.
  void distil(int64_t repetition);
  /// The same student, data and steps without soft targets.
  void train_on_hard_labels(int64_t repetition);
  /// Table, summary.json and report.html.
  void finish();

  /// Whether a rank was asked to stop, or a stage ended early for that: no further stage is run.
  bool stops() const;
  /// For a person: after what it stopped, and where the state is.
  std::string stop_words() const;

  /// The rank that writes and prints; always a student.
  bool speaks() const { return world.rank() == 0; }

  const DistillConfig& config;
  const Communicator& world;
  const Machine& machine;
  const Placement& placement;
  const std::string dir;

 private:
  /// Nothing where a rank of `comm` was asked to stop.
  std::optional<ModelResult> judge_model(const Transformer& model, const std::string& name,
                                         uint64_t seed, const Communicator& comm) const;
  void judge_teacher(const Communicator& holders);
  void train_teacher();
  void open_trained_teacher(const nlohmann::json& finished);
  /// The teacher's fingerprint, on every rank. Collective.
  std::string fingerprint_of_teacher() const;
  TrainingStage stage(const std::string& title, const std::string& name, uint64_t seed) const;
  /// What checkpoints and results of the stage `name` say of it.
  StageIdentity identity(const std::string& name, uint64_t seed) const;
  /// Takes over the result of a student's stage, if it is finished. Collective.
  bool take_result(const std::string& name, uint64_t seed);
  void say_missing_shards() const;
  void finish_stage(const std::string& name, const ModelResult& result,
                    const TrainingSummary& trained);
  /// The folder of TensorBoard's events of one model; empty without --log.tensorboard.
  std::string tensorboard_dir(const std::string& model) const;
  /// Adds the judged model's metrics to its events. Called on the rank that speaks.
  void log_result(const std::string& model, const ModelResult& result) const;
  WorkPlan plan(uint64_t seed) const;
  PayloadSpec payload() const;
  TeacherInference inference(uint64_t seed) const;
  ChannelConfig channel() const;
  Transformer new_student(uint64_t seed) const;
  int64_t last_step_begun(const WorkPlan& work, int64_t step) const;
  std::unique_ptr<SoftTargetSource> source(const WorkPlan& work, uint64_t seed) const;

  const DistillInputs& inputs_;
  const Resumption& resumption_;
  const Corpus& corpus_;
  const bool is_teacher_;
  const Communicator role_;                // the ranks of this rank's role
  std::optional<Transformer> teacher_;     // on teacher ranks, on all where colocated
  std::unique_ptr<Collectives> students_;  // on student ranks
  at::Tensor teacher_head_;                // (V, C) on student ranks, for the payload hidden
  std::unique_ptr<SoftTargetTransports> transports_;  // null where colocated
  std::vector<std::string> rank_names_;               // of all ranks
  std::optional<Faults> faults_;                      // of this rank, while a student is distilled
  StoreIndex tee_;                                    // of the store that is written
  FolderLock tee_lock_;
  std::string teacher_fingerprint_;  // or that of a store
  std::string first_weights_;        // of students, as in StageIdentity
  DistillSummary summary_;           // complete on world rank 0
  bool stopped_ = false;             // a stage ended early
  TrainingSummary trained_;          // by the last stage that this rank took part in
  std::string trained_what_;
};

}  // namespace temper
