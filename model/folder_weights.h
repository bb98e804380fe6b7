// The weights of a Hugging Face folder, from one safetensors file or from the many that an index
// names.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/safetensors.h"
#include "model/transformer_config.h"

namespace temper {

class FolderWeights {
 public:
  /// Maps and checks all files. Throws c10::ValueError naming the file and the reason.
  explicit FolderWeights(const std::string& dir);

  /// The file that messages name: model.safetensors or its index.
  const std::string& where() const { return where_; }
  int64_t elements() const;
  std::vector<std::string> names() const;
  bool contains(const std::string& name) const { return file_of_.count(name) > 0; }

  /// A read-only view of the file. Throws c10::ValueError naming file, tensor, value and remedy
  /// where it has another shape, or is not fp32, fp16 or bf16.
  at::Tensor tensor(const std::string& name, at::IntArrayRef shape) const;
  /// Gives the memory of a part of a tensor back to the system.
  void release(const std::string& name, const at::Tensor& part) const;

  /// The narrowest type that holds every weight as it is (buffers of the family do not count).
  at::ScalarType dtype(Family family) const;

 private:
  void open(const std::string& path);
  const SafetensorsFile& file_with(const std::string& name) const {
    return files_[file_of_.at(name)];
  }

  std::string where_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, size_t> file_of_;
};

/// True where the folder has weights to open.
bool has_weights(const std::string& dir);

inline constexpr const char* kWeightsFile = "model.safetensors";
inline constexpr const char* kIndexFile = "model.safetensors.index.json";

}  // namespace temper
