#include "model/folder_weights.h"

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "data/json_input.h"
#include "model/hugging_face_names.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxIndexBytes = 64 << 20;

std::string in_folder(const std::string& dir, const std::string& name) {
  return (fs::path(dir) / name).string();
}

std::string shape_text(at::IntArrayRef shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + ")";
}

}  // namespace

bool has_weights(const std::string& dir) {
  std::error_code ignored;
  return fs::exists(in_folder(dir, kWeightsFile), ignored) ||
         fs::exists(in_folder(dir, kIndexFile), ignored);
}

FolderWeights::FolderWeights(const std::string& dir) : where_(in_folder(dir, kWeightsFile)) {
  std::error_code ignored;
  if (fs::exists(where_, ignored) || !has_weights(dir)) {
    const bool pickled = fs::exists(in_folder(dir, "pytorch_model.bin"), ignored);
    TORCH_CHECK_VALUE(fs::exists(where_, ignored), where_, ": no such file",
                      pickled ? "; the folder has pytorch_model.bin: save it anew with "
                                "transformers' save_pretrained, which writes safetensors"
                              : "; name the folder of a Hugging Face model");
    open(where_);
    return;
  }
  where_ = in_folder(dir, kIndexFile);
  const nlohmann::json index = read_json_file(where_, kMaxIndexBytes);
  const nlohmann::json& map = JsonFields(index, where_).object("weight_map");
  std::map<std::string, std::set<std::string>> names_of_file;
  for (const auto& [name, file] : map.items()) {
    TORCH_CHECK_VALUE(file.is_string(), where_, ": weight_map gives no file name for ", name);
    names_of_file[file.get<std::string>()].insert(name);
  }
  for (const auto& [file, names] : names_of_file) {
    TORCH_CHECK_VALUE(file.find('/') == std::string::npos && file != ".." && !file.empty(), where_,
                      ": weight_map names the file '", file,
                      "', which is not in the folder itself");
    open(in_folder(dir, file));
    for (const std::string& name : names) {
      TORCH_CHECK_VALUE(files_.back().contains(name), in_folder(dir, file), ": holds no tensor ",
                        name, ", which ", kIndexFile, " says it does");
    }
  }
}

void FolderWeights::open(const std::string& path) {
  files_.emplace_back(path);
  for (const std::string& name : files_.back().names()) {
    TORCH_CHECK_VALUE(file_of_.emplace(name, files_.size() - 1).second, path, ": the tensor ", name,
                      " stands in another file of the folder too");
  }
}

int64_t FolderWeights::elements() const {
  int64_t count = 0;
  for (const auto& [name, file] : file_of_)
    count += c10::multiply_integers(files_[file].shape(name));
  return count;
}

std::vector<std::string> FolderWeights::names() const {
  std::vector<std::string> all;
  for (const auto& [name, file] : file_of_) all.push_back(name);
  return all;
}

at::Tensor FolderWeights::tensor(const std::string& name, at::IntArrayRef shape) const {
  const SafetensorsFile& file = file_with(name);
  TORCH_CHECK_VALUE(shape == file.shape(name), where_, ": ", name, " has the shape ",
                    shape_text(file.shape(name)), "; config.json asks for ", shape_text(shape));
  const at::ScalarType type = file.dtype(name);
  TORCH_CHECK_VALUE(type == at::kFloat || type == at::kHalf || type == at::kBFloat16, where_, ": ",
                    name, " holds ", c10::toString(type),
                    "; temper takes fp32, fp16 and bf16 weights only");
  return file.tensor(name);  // (shape)
}

void FolderWeights::release(const std::string& name, const at::Tensor& part) const {
  file_with(name).release(part);
}

at::ScalarType FolderWeights::dtype(Family family) const {
  std::set<at::ScalarType> found;
  for (const auto& [name, file] : file_of_) {
    if (!is_known_buffer(family, name)) found.insert(files_[file].dtype(name));
  }
  const bool one =
      found.size() == 1 && (*found.begin() == at::kBFloat16 || *found.begin() == at::kHalf);
  return one ? *found.begin() : at::kFloat;
}

}  // namespace temper
