// Opening and writing a Hugging Face folder.
#include "model/hugging_face.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "data/atomic_file.h"
#include "data/json_input.h"
#include "model/config_json.h"
#include "model/hugging_face_names.h"
#include "model/safetensors.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr int64_t kMaxIndexBytes = 64 << 20;

std::string in_folder(const std::string& dir, const std::string& name) {
  return (fs::path(dir) / name).string();
}

// The weights of a folder, from one file or from many.
class Weights {
 public:
  explicit Weights(const std::string& dir) : where_(in_folder(dir, kWeights)) {
    std::error_code ignored;
    if (fs::exists(where_, ignored) || !fs::exists(in_folder(dir, kIndex), ignored)) {
      const bool pickled = fs::exists(in_folder(dir, "pytorch_model.bin"), ignored);
      TORCH_CHECK_VALUE(fs::exists(where_, ignored), where_, ": no such file",
                        pickled ? "; the folder has pytorch_model.bin: save it anew with "
                                  "transformers' save_pretrained, which writes safetensors"
                                : "; name the folder of a Hugging Face model");
      open(where_);
      return;
    }
    where_ = in_folder(dir, kIndex);
    const nlohmann::json index = read_json_file(where_, kMaxIndexBytes);
    const nlohmann::json& map = JsonFields(index, where_).object("weight_map");
    std::map<std::string, std::set<std::string>> names_of_file;
    for (const auto& [name, file] : map.items()) {
      TORCH_CHECK_VALUE(file.is_string(), where_, ": weight_map gives no file name for ", name);
      names_of_file[file.get<std::string>()].insert(name);
    }
    for (const auto& [file, names] : names_of_file) {
      TORCH_CHECK_VALUE(file.find('/') == std::string::npos && file != ".." && !file.empty(),
                        where_, ": weight_map names the file '", file,
                        "', which is not in the folder itself");
      open(in_folder(dir, file));
      for (const std::string& name : names) {
        TORCH_CHECK_VALUE(files_.back().contains(name), in_folder(dir, file), ": holds no tensor ",
                          name, ", which ", kIndex, " says it does");
      }
    }
  }

  const std::string& where() const { return where_; }
  int64_t elements() const {
    int64_t count = 0;
    for (const auto& [name, file] : file_of_) count += files_[file].tensor(name).numel();
    return count;
  }
  bool contains(const std::string& name) const { return file_of_.count(name) > 0; }
  at::Tensor tensor(const std::string& name) const {
    return files_[file_of_.at(name)].tensor(name);  // (shape as in the file)
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, file] : file_of_) all.push_back(name);
    return all;
  }

 private:
  void open(const std::string& path) {
    files_.emplace_back(path);
    for (const std::string& name : files_.back().names()) {
      TORCH_CHECK_VALUE(file_of_.emplace(name, files_.size() - 1).second, path, ": the tensor ",
                        name, " stands in another file of the folder too");
    }
  }

  std::string where_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, size_t> file_of_;
};

std::string shape_text(at::IntArrayRef shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + ")";
}

// The first few of many names, for a message of one line.
std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < 3; ++i) text += (i ? ", " : "") + names[i];
  if (names.size() > 3) text += " and " + std::to_string(names.size() - 3) + " more";
  return text;
}

// The first GPT-2 checkpoints were saved from the model without its head, and lack the prefix.
std::string name_in_file(const Weights& weights, Family family, const std::string& name) {
  constexpr std::string_view kPrefix = "transformer.";
  const bool bare = family == Family::kGpt2 && weights.contains("wte.weight") &&
                    !weights.contains("transformer.wte.weight");
  return bare && name.rfind(kPrefix, 0) == 0 ? name.substr(kPrefix.size()) : name;
}

void copy_weights(const Weights& weights, const Transformer& model) {
  const Family family = model.config().family;
  const std::vector<HuggingFaceTensor> wanted = hugging_face_tensors(model);
  std::set<std::string> expected;
  std::vector<std::string> missing, surplus;
  for (const HuggingFaceTensor& tensor : wanted) {
    const std::string name = name_in_file(weights, family, tensor.name);
    expected.insert(name);
    if (!weights.contains(name)) missing.push_back(name);
  }
  const bool repeats_head = model.config().tied_head && weights.contains("lm_head.weight");
  for (const std::string& name : weights.names()) {
    if (expected.count(name) > 0 || is_known_buffer(family, name)) continue;
    if (!(repeats_head && name == "lm_head.weight")) surplus.push_back(name);
  }
  TORCH_CHECK_VALUE(missing.empty(), weights.where(), ": missing tensors: ", listed(missing),
                    "; config.json asks for them");
  TORCH_CHECK_VALUE(surplus.empty(), weights.where(),
                    ": tensors that config.json has no use for: ", listed(surplus));

  const auto take = [&](const std::string& name, at::IntArrayRef shape) {
    const at::Tensor found = weights.tensor(name);  // (shape as in the file)
    TORCH_CHECK_VALUE(found.sizes() == shape, weights.where(), ": ", name, " has the shape ",
                      shape_text(found.sizes()), "; config.json asks for ", shape_text(shape));
    const at::ScalarType type = found.scalar_type();
    TORCH_CHECK_VALUE(type == at::kFloat || type == at::kHalf || type == at::kBFloat16,
                      weights.where(), ": ", name, " holds ", c10::toString(type),
                      "; temper takes fp32, fp16 and bf16 weights only");
    return found;
  };
  const at::NoGradGuard no_grad;
  for (const HuggingFaceTensor& tensor : wanted) {
    const at::Tensor place = tensor.view();  // (shape as in the file)
    place.copy_(take(name_in_file(weights, family, tensor.name), place.sizes()));
  }
  if (repeats_head) {
    const at::Tensor head = take("lm_head.weight", model.head().sizes());  // (V, C)
    TORCH_CHECK_VALUE(at::equal(head.to(model.head()), model.head().detach()), weights.where(),
                      ": lm_head.weight differs from the embedding, but config.json says that the "
                      "two are tied; set tie_word_embeddings to false");
  }
}

}  // namespace

TransformerConfig read_model_config(const std::string& dir) {
  return read_config_json(in_folder(dir, "config.json"));
}

Transformer load_model(const std::string& dir, at::Device device) {
  const TransformerConfig config = read_model_config(dir);
  const Weights weights(dir);
  // Far too few: refused before memory is taken for them. Smaller differences are named tensor by
  // tensor.
  TORCH_CHECK_VALUE(config.parameter_count() / 4 <= weights.elements(), weights.where(), ": holds ",
                    weights.elements(), " numbers, but config.json asks for ",
                    config.parameter_count(), "; the two do not belong together");
  Transformer model(config, at::kFloat, device);
  copy_weights(weights, model);
  return model;
}

void save_model(const Transformer& model, const std::string& dir, std::optional<double> temperature,
                const std::string& tokenizer_file) {
  TORCH_CHECK_VALUE(!temperature || (std::isfinite(*temperature) && *temperature > 0),
                    "the temperature to write is ", *temperature, "; it must be positive");
  std::error_code failure;
  fs::create_directories(dir, failure);
  TORCH_CHECK(!failure, "cannot make the folder ", dir, ": ", failure.message());

  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const HuggingFaceTensor& tensor : hugging_face_tensors(model)) {
    tensors.emplace_back(tensor.name, tensor.view().to(at::kCPU, at::kFloat));  // (as in the file)
  }
  write_safetensors(in_folder(dir, kWeights), tensors);
  write_text_file(in_folder(dir, "config.json"), config_json_text(model.config()));
  write_text_file(in_folder(dir, "generation_config.json"),
                  generation_config_text(temperature.value_or(0.0)));
  if (!tokenizer_file.empty()) {
    std::ifstream stream(tokenizer_file, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
    TORCH_CHECK(stream.good() || stream.eof(), "cannot read the tokenizer ", tokenizer_file);
    TORCH_CHECK(!bytes.empty(), "the tokenizer ", tokenizer_file, " is missing or empty");
    write_text_file(in_folder(dir, "tokenizer.model"), bytes);
  }
}

void write_generation_config(const std::string& dir, double temperature) {
  write_text_file(in_folder(dir, "generation_config.json"), generation_config_text(temperature));
}

}  // namespace temper
