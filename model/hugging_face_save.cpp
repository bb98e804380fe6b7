// Writing a Hugging Face folder.
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/atomic_file.h"
#include "model/config_json.h"
#include "model/folder_weights.h"
#include "model/hugging_face.h"
#include "model/hugging_face_names.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

using Shard = std::vector<HuggingFaceTensor>;

int64_t file_bytes(const HuggingFaceTensor& tensor) {
  return tensor.view().numel() * static_cast<int64_t>(sizeof(float));
}

std::vector<Shard> cut_into_shards(const Transformer& model, int64_t max_bytes) {
  std::vector<Shard> shards(1);
  int64_t bytes = 0;
  for (const HuggingFaceTensor& tensor : hugging_face_tensors(model)) {
    const int64_t more = file_bytes(tensor);
    if (bytes + more > max_bytes && !shards.back().empty()) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back(tensor);
    bytes += more;
  }
  return shards;
}

std::string shard_name(size_t number, size_t count) {
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", number + 1, count);
  return name;
}

void write_weights(const Transformer& model, const fs::path& dir, int64_t max_shard_bytes) {
  const std::vector<Shard> shards = cut_into_shards(model, max_shard_bytes);
  nlohmann::ordered_json index;
  index["metadata"]["total_size"] = 0;
  int64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shards.size() == 1 ? kWeightsFile : shard_name(i, shards.size());
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (const HuggingFaceTensor& tensor : shards[i]) {
      tensors.emplace_back(tensor.name,
                           tensor.view().to(at::kCPU, at::kFloat));  // (as in the file)
      index["weight_map"][tensor.name] = name;
      total += file_bytes(tensor);
    }
    write_safetensors((dir / name).string(), tensors);
  }
  index["metadata"]["total_size"] = total;
  // A reader takes the single file first: what an earlier save left must not win.
  std::error_code ignored;
  if (shards.size() == 1) {
    fs::remove(dir / kIndexFile, ignored);
  } else {
    write_text_file((dir / kIndexFile).string(), index.dump(2) + "\n");
    fs::remove(dir / kWeightsFile, ignored);
  }
}

}  // namespace

void save_model(const Transformer& model, const std::string& dir, std::optional<double> temperature,
                const std::vector<TokenizerFile>& tokenizer, int64_t max_shard_bytes) {
  TORCH_CHECK_VALUE(!temperature || (std::isfinite(*temperature) && *temperature > 0),
                    "the temperature to write is ", *temperature, "; it must be positive");
  std::error_code failure;
  fs::create_directories(dir, failure);
  TORCH_CHECK(!failure, "cannot make the folder ", dir, ": ", failure.message());

  const fs::path folder(dir);
  write_weights(model, folder, max_shard_bytes);
  write_text_file((folder / "config.json").string(), config_json_text(model.config()));
  write_text_file((folder / "generation_config.json").string(),
                  generation_config_text(model.config(), temperature));
  for (const TokenizerFile& file : tokenizer) {
    write_text_file((folder / file.name).string(), file.content);
  }
}

void write_generation_config(const std::string& dir, double temperature) {
  const std::string path = (fs::path(dir) / "generation_config.json").string();
  std::error_code ignored;
  write_text_file(path, fs::exists(path, ignored)
                            ? with_temperature(path, temperature)
                            : generation_config_text(read_model_config(dir), temperature));
}

}  // namespace temper
