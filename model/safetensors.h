// Reader and writer of the safetensors format (https://github.com/huggingface/safetensors): eight
// bytes of header length, a JSON header, raw little-endian tensors. The reader maps the file and
// trusts nothing in it.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/checksum.h"

namespace temper {

class SafetensorsFile {
 public:
  /// Maps and checks the file: header length within the file and below 100 MB, JSON objects of
  /// bounded depth, no duplicate names, known dtypes, shape products that do not overflow, offsets
  /// in range, without overlap or gap, dtype × shape = bytes. Throws c10::ValueError naming the
  /// file, the tensor and the reason (a truncated file is called that).
  explicit SafetensorsFile(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;

  std::vector<std::string> names() const;
  bool contains(const std::string& name) const;
  /// Of the tensor `name`, which must be there.
  at::ScalarType dtype(const std::string& name) const { return entries_.at(name).dtype; }
  const std::vector<int64_t>& shape(const std::string& name) const {
    return entries_.at(name).shape;
  }
  /// A read-only view of the mapping, which stays alive as long as the tensor does.
  at::Tensor tensor(const std::string& name) const;
  /// Gives the memory of a dense part of a tensor() back to the system; used again, it is read
  /// from the file again.
  void release(const at::Tensor& part) const;

 private:
  struct Mapping;
  struct Entry {
    at::ScalarType dtype;
    std::vector<int64_t> shape;
    size_t begin = 0, end = 0;  // bytes from the end of the header
  };
  std::string_view bytes_of(const Entry& entry) const;

  std::string path_;
  std::shared_ptr<Mapping> mapping_;
  std::map<std::string, Entry> entries_;
};

/// Writes CPU tensors under the given names, in that order, to `path` through a temporary name,
/// fsync and rename, with metadata {"format": "pt"}. Returns size and checksum of what was handed
/// to the system. Throws c10::Error naming path, bytes and the system's reason.
FileSum write_safetensors(const std::string& path,
                          const std::vector<std::pair<std::string, at::Tensor>>& tensors);

}  // namespace temper
