// Checkpoints of a small model, as two ranks write them, that say their own step in every number.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>

#include "launch/checkpoint_folder.h"
#include "launch/checkpoint_state.h"
#include "model/hugging_face.h"
#include "tests/model/small_shape.h"

namespace temper {

/// Every weight is `step`.
inline Transformer small_model(int64_t step) {
  Transformer model(small_shape(64, 16, 1, 32));
  const at::NoGradGuard no_grad;
  for (const Parameter& parameter : model.parameters())
    parameter.value.fill_(static_cast<double>(step));
  return model;
}

inline CheckpointManifest small_manifest(int64_t step) {
  CheckpointManifest manifest;
  manifest.temper = "test";
  manifest.stage = "train";
  manifest.step = step;
  manifest.seed = 1;
  manifest.data = "d";
  manifest.first_weights = "f";
  manifest.students = 2;
  manifest.configuration = "# temper train: test\n[train]\nlr = 0.1\n";
  return manifest;
}

inline CheckpointPart small_part(int64_t step, int rank, int ranks) {
  const Transformer model = small_model(step);
  KeptMemory memory;
  FolderPart folder = copy_folder_part(model, rank, ranks, {}, memory);
  TrainingState state;
  state.optimizer.updates = step;
  const Shard own = shard_of(model.flat_weights().numel(), rank, ranks);
  state.optimizer.parts = {own};
  state.optimizer.moments = at::full({2, own.count}, static_cast<double>(step), at::kFloat);
  CheckpointPart part;
  part.tensors.emplace_back(folder.weights_file, std::move(folder.weights));
  part.tensors.emplace_back(state_file(rank, ranks), to_tensors(state));
  part.texts = std::move(folder.texts);
  return part;
}

inline void save_small_checkpoint(const std::string& dir, int64_t step, int64_t keep,
                                  std::optional<double> nll = {}) {
  CheckpointManifest manifest = small_manifest(step);
  manifest.weights = places_of_weights(small_model(step));
  manifest.nll = nll;
  const std::string folder = make_temporary_checkpoint(dir, step);
  for (int rank = 0; rank < 2; ++rank)
    manifest.files.merge(write_part(folder, small_part(step, rank, 2)));
  publish_checkpoint(dir, manifest, keep);
}

/// The checkpoint verifies, and holds what save_small_checkpoint() put into it.
inline void expect_small_checkpoint(const std::string& dir, int64_t step) {
  const std::string path = dir + "/" + checkpoint_name(step);
  const CheckpointManifest manifest = read_manifest(path);
  ASSERT_EQ(file_trouble(manifest, path), "");
  ASSERT_EQ(manifest.step, step);
  const Transformer model = small_model(0);
  read_weights(path, manifest, model);
  const auto value = static_cast<double>(step);
  for (const Parameter& parameter : model.parameters())
    EXPECT_TRUE(parameter.value.eq(value).all().item<bool>()) << parameter.name;
  int64_t moments = 0;
  for (const TrainingState& state : read_states(path, manifest)) {
    EXPECT_EQ(state.optimizer.updates, step);
    EXPECT_TRUE(state.optimizer.moments.eq(value).all().item<bool>());
    moments += state.optimizer.moments.size(1);
  }
  EXPECT_EQ(moments, model.flat_weights().numel());
}

}  // namespace temper
