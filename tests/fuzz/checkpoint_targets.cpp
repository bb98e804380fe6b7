// Readers of checkpoints: the manifest, and the optimizer's state.
#include <ATen/ATen.h>

#include "launch/checkpoint_manifest.h"
#include "launch/checkpoint_state.h"
#include "model/safetensors.h"
#include "tests/fuzz/targets.h"

namespace temper {
namespace {

std::string example_manifest() {
  CheckpointManifest manifest;
  manifest.temper = "0.1.0";
  manifest.stage = "distilled-1";
  manifest.step = 100;
  manifest.seed = 1;
  manifest.data = manifest.teacher = manifest.weights = manifest.first_weights = "0123456789abcdef";
  manifest.nll = 4.5;
  manifest.totals = {{"seconds", 1.5}, {"tokens", 1000}};
  manifest.configuration = "# temper distill\n[train]\nlr = 0.1\n";
  manifest.files["config.json"] = {2, std::string(32, 'a')};
  manifest.files["model.safetensors"] = {8, std::string(32, 'b')};
  return manifest_text(manifest);
}

void use_manifest(const std::string& work) {
  const CheckpointManifest manifest = read_manifest(work);
  file_trouble(manifest, work);
}

FuzzReader manifest_reader(const std::string& work) {
  const std::vector<std::string> seeds = {example_manifest()};
  return {seeds,
          [work](const std::string& bytes) {
            write_file(work + "/" + kManifestFile, bytes);
            use_manifest(work);
          },
          quoted_words(seeds)};
}

FuzzReader sealed_manifest_reader(const std::string& work) {
  return sealed_json_reader(work + "/" + kManifestFile, {example_manifest()},
                            [work] { use_manifest(work); });
}

FuzzReader state_reader(const std::string& work) {
  TrainingState state;
  state.optimizer.updates = 7;
  state.optimizer.parts = {{0, 3}, {5, 1}};
  state.optimizer.moments = at::ones({2, 4}, at::kFloat);
  state.guard.losses = {4.5, 4.25};
  state.match.emplace_back("weight", at::ones({2, 2}));
  CheckpointManifest manifest;
  const std::string name = state_file(0, 1);
  manifest.files[name] = {};
  write_safetensors(work + "/" + name, to_tensors(state));
  const std::vector<std::string> seeds = {file_content(work + "/" + name)};
  return {seeds,
          [=](const std::string& bytes) {
            write_file(work + "/" + name, bytes);
            for (const TrainingState& each : read_states(work, manifest)) {
              double sum = 0;
              if (each.optimizer.moments.defined())
                sum += each.optimizer.moments.sum().item<double>();
              volatile double sink = sum;
              (void)sink;
            }
          },
          quoted_words(seeds)};
}

}  // namespace

std::vector<FuzzTarget> checkpoint_targets() {
  return {{"manifest", manifest_reader},
          {"manifest_sealed", sealed_manifest_reader},
          {"checkpoint_state", state_reader}};
}

}  // namespace temper
