// One stage of training from first to last step, with its log and its checkpoints.
#pragma once

#include "comm/collectives.h"
#include "launch/training_stage.h"
#include "launch/training_summary.h"
#include "model/transformer.h"

namespace temper {

/// Trains `model` in place, from the stage's checkpoint on if it has one, to the last step or until
/// a rank is asked to stop. Collective over `collectives` and `ranks`, which are the same ranks;
/// rank 0 logs. Steps without finite numbers are skipped and logged; too many in a row
/// (train.skip-limit) are a NumericError on all ranks, after a checkpoint.
TrainingSummary run_training(Transformer& model, const TrainingStage& stage,
                             Collectives& collectives, const Communicator& ranks);

}  // namespace temper
