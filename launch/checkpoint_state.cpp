#include "launch/checkpoint_state.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include "launch/progress.h"
#include "model/hugging_face.h"
#include "model/safetensors.h"

namespace temper {

namespace {

constexpr std::string_view kStatePrefix = "state-";
constexpr const char* kMoments = "optimizer.moments";
constexpr const char* kParts = "optimizer.parts";
constexpr const char* kUpdates = "optimizer.updates";
constexpr const char* kGuardLosses = "guard.losses";
constexpr const char* kGuardInARow = "guard.in_a_row";
constexpr std::string_view kMatchPrefix = "match.";

TrainingState read_state(const std::string& path) {
  const SafetensorsFile file(path);
  const auto of_type = [&](const char* name, at::ScalarType dtype, size_t dimensions) {
    TORCH_CHECK_VALUE(
        file.contains(name) && file.dtype(name) == dtype && file.shape(name).size() == dimensions,
        path, ": holds no ", name, " as temper writes it");
    return file.tensor(name);
  };
  TrainingState state;
  state.optimizer.updates = of_type(kUpdates, at::kLong, 0).item<int64_t>();
  const at::Tensor parts = of_type(kParts, at::kLong, 2);  // (k, 2)
  TORCH_CHECK_VALUE(parts.size(1) == 2, path, ": ", kParts, " has rows of ", parts.size(1),
                    " numbers, not 2");
  const int64_t* number = parts.const_data_ptr<int64_t>();
  int64_t total = 0;
  for (int64_t i = 0; i < parts.size(0); ++i, number += 2) {
    constexpr int64_t kMost = int64_t{1} << 48;  // weights
    TORCH_CHECK_VALUE(
        number[0] >= 0 && number[1] >= 0 && number[0] <= kMost && number[1] <= kMost - total, path,
        ": ", kParts, " has a part ", number[0], ", ", number[1]);
    state.optimizer.parts.push_back({number[0], number[1]});
    total += number[1];
  }
  if (file.contains(kMoments)) {
    state.optimizer.moments = of_type(kMoments, at::kFloat, 2);  // (2, n)
    TORCH_CHECK_VALUE(
        state.optimizer.moments.size(0) == 2 && state.optimizer.moments.size(1) == total, path,
        ": ", kMoments, " has the shape ", state.optimizer.moments.sizes(), ", not (2, ", total,
        ")");
  }
  const at::Tensor losses = of_type(kGuardLosses, at::kDouble, 1);  // (n)
  const double* loss = losses.const_data_ptr<double>();
  state.guard.losses.assign(loss, loss + losses.numel());
  state.guard.in_a_row = of_type(kGuardInARow, at::kLong, 0).item<int64_t>();
  for (const std::string& name : file.names()) {
    if (name.starts_with(kMatchPrefix))
      state.match.emplace_back(name.substr(kMatchPrefix.size()), file.tensor(name));
  }
  return state;
}

}  // namespace

std::string state_file(int rank, int ranks) {
  return format("%s%05d-of-%05d.safetensors", std::string(kStatePrefix).c_str(), rank + 1, ranks);
}

std::vector<std::pair<std::string, at::Tensor>> to_tensors(const TrainingState& state) {
  const OptimizerState& optimizer = state.optimizer;
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  if (optimizer.moments.defined()) tensors.emplace_back(kMoments, optimizer.moments);
  at::Tensor parts =
      at::empty({static_cast<int64_t>(optimizer.parts.size()), 2}, at::kLong);  // (k, 2)
  auto* number = parts.mutable_data_ptr<int64_t>();
  for (const Shard& part : optimizer.parts) {
    *number++ = part.begin;
    *number++ = part.count;
  }
  tensors.emplace_back(kParts, parts);
  tensors.emplace_back(kUpdates, at::full({}, optimizer.updates, at::kLong));
  const std::vector<double> losses(state.guard.losses.begin(), state.guard.losses.end());
  tensors.emplace_back(kGuardLosses, at::tensor(losses, at::kDouble));
  tensors.emplace_back(kGuardInARow, at::full({}, state.guard.in_a_row, at::kLong));
  for (const auto& [name, tensor] : state.match)
    tensors.emplace_back(std::string(kMatchPrefix) + name, tensor);
  return tensors;
}

std::vector<TrainingState> read_states(const std::string& dir, const CheckpointManifest& manifest) {
  std::vector<TrainingState> states;
  for (const auto& [name, sum] : manifest.files) {
    if (name.starts_with(kStatePrefix)) states.push_back(read_state(dir + "/" + name));
  }
  return states;
}

void read_weights(const std::string& dir, const CheckpointManifest& manifest,
                  const Transformer& model) {
  const at::NoGradGuard no_grad;
  const std::string places = places_of_weights(model);
  TORCH_CHECK_VALUE(places == manifest.weights, dir, "/", kManifestFile, ": weights is ",
                    manifest.weights, ", this model's are ", places,
                    ": it is of another shape, or of another version of temper (", manifest.temper,
                    ")");
  const Transformer saved = load_model(dir);
  TORCH_CHECK_VALUE(places_of_weights(saved) == places, dir,
                    "/config.json is of another model than the one that is trained");
  model.flat_weights().copy_(saved.flat_weights());
}

std::string places_of_weights(const Transformer& model) {
  Checksum checksum;
  for (const Parameter& parameter : model.parameters()) {
    checksum.add(parameter.name);
    checksum.add(c10::str(" ", parameter.offset, " ", parameter.value.sizes(), "\n"));
  }
  return checksum.hex();
}

}  // namespace temper
