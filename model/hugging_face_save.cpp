// Writing a Hugging Face folder.
#include <algorithm>
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

/// At most `parts` shards of about as many bytes.
std::vector<Shard> cut_evenly(const Transformer& model, int parts) {
  const std::vector<HuggingFaceTensor> tensors = hugging_face_tensors(model);
  int64_t total = 0;
  for (const HuggingFaceTensor& tensor : tensors) total += file_bytes(tensor);
  std::vector<Shard> shards(static_cast<size_t>(parts));
  int64_t before = 0;
  for (const HuggingFaceTensor& tensor : tensors) {
    const int64_t middle = before + file_bytes(tensor) / 2;
    const double part = static_cast<double>(middle) / static_cast<double>(total) * parts;
    shards[std::min(static_cast<size_t>(part), shards.size() - 1)].push_back(tensor);
    before += file_bytes(tensor);
  }
  std::erase_if(shards, [](const Shard& shard) { return shard.empty(); });
  return shards;
}

std::string shard_name(size_t number, size_t count) {
  char name[64];
  if (count == 1) return kWeightsFile;
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", number + 1, count);
  return name;
}

/// Which file has which tensor.
std::string index_text(const std::vector<Shard>& shards) {
  nlohmann::ordered_json index;
  index["metadata"]["total_size"] = 0;
  int64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const HuggingFaceTensor& tensor : shards[i]) {
      index["weight_map"][tensor.name] = shard_name(i, shards.size());
      total += file_bytes(tensor);
    }
  }
  index["metadata"]["total_size"] = total;
  return index.dump(2) + "\n";
}

void write_weights(const Transformer& model, const fs::path& dir, int64_t max_shard_bytes) {
  const std::vector<Shard> shards = cut_into_shards(model, max_shard_bytes);
  for (size_t i = 0; i < shards.size(); ++i) {
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (const HuggingFaceTensor& tensor : shards[i]) {
      tensors.emplace_back(tensor.name,
                           tensor.view().to(at::kCPU, at::kFloat));  // (as in the file)
    }
    write_safetensors((dir / shard_name(i, shards.size())).string(), tensors);
  }
  // A reader takes the single file first: what an earlier save left must not win.
  std::error_code ignored;
  if (shards.size() == 1) {
    fs::remove(dir / kIndexFile, ignored);
  } else {
    write_text_file((dir / kIndexFile).string(), index_text(shards));
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

FolderPart copy_folder_part(const Transformer& model, int part, int parts,
                            const std::vector<TokenizerFile>& tokenizer, KeptMemory& memory) {
  const at::NoGradGuard no_grad;
  const std::vector<Shard> shards = cut_evenly(model, parts);
  FolderPart own;
  const auto number = static_cast<size_t>(part);
  if (number < shards.size()) {
    own.weights_file = shard_name(number, shards.size());
    for (const HuggingFaceTensor& tensor : shards[number]) {
      at::Tensor copy = memory.empty(tensor.view().sizes(), at::kFloat);  // (as in file)
      copy.copy_(tensor.view());
      own.weights.emplace_back(tensor.name, std::move(copy));
    }
  }
  if (part != 0) return own;
  own.texts = tokenizer;
  own.texts.push_back({"config.json", config_json_text(model.config())});
  own.texts.push_back(
      {"generation_config.json", generation_config_text(model.config(), std::nullopt)});
  if (shards.size() > 1) own.texts.push_back({kIndexFile, index_text(shards)});
  return own;
}

void write_generation_config(const std::string& dir, double temperature) {
  const std::string path = (fs::path(dir) / "generation_config.json").string();
  std::error_code ignored;
  write_text_file(path, fs::exists(path, ignored)
                            ? with_temperature(path, temperature)
                            : generation_config_text(read_model_config(dir), temperature));
}

}  // namespace temper
