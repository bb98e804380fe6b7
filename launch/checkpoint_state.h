// A training state as the tensors of a safetensors file, and back.
//
//   optimizer.moments (2, n)   of the parts below, one after another; not with plain SGD
//   optimizer.parts   (k, 2)   begin and count in the flat buffer
//   optimizer.updates ()       steps of the optimizer so far
//   guard.losses      (k)      float64, of the last steps that were taken
//   guard.in_a_row    ()       steps that were skipped since
//   match.NAME                 of HiddenMatch, on the first rank
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "launch/checkpoint_manifest.h"
#include "student/training_step.h"

namespace temper {

/// The file of rank `rank` of `ranks`.
std::string state_file(int rank, int ranks);

std::vector<std::pair<std::string, at::Tensor>> to_tensors(const TrainingState& state);

/// The states of all ranks that wrote the checkpoint; views of the mapped files. Throws
/// c10::ValueError naming file and tensor.
std::vector<TrainingState> read_states(const std::string& dir, const CheckpointManifest& manifest);

/// Copies the weights of the checkpoint into `model`. Throws c10::ValueError naming the file where
/// they are another model's.
void read_weights(const std::string& dir, const CheckpointManifest& manifest,
                  const Transformer& model);

/// A checksum of which weight lies where in the flat buffers, to which `parts` refer.
std::string places_of_weights(const Transformer& model);

}  // namespace temper
