// Mapping and writing of safetensors files; the header's rules are in safetensors_header.cpp.
#include "model/safetensors.h"

#include <ATen/ops/from_blob.h>

#include <bit>
#include <cstring>

#include "data/atomic_file.h"
#include "data/mapped_file.h"
#include "model/safetensors_header.h"

namespace temper {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data are little-endian");

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as in the reference implementation

}  // namespace

struct SafetensorsFile::Mapping {
  explicit Mapping(const std::string& path) : file(path) {}

  MappedFile file;
  size_t data_begin = 0;  // where the header ends
};

SafetensorsFile::SafetensorsFile(const std::string& path)
    : path_(path), mapping_(std::make_shared<Mapping>(path)) {
  const std::string_view all = mapping_->file.bytes();
  const uint64_t bytes = all.size();
  TORCH_CHECK_VALUE(bytes >= kLengthBytes, path, ": truncated: only ", bytes,
                    " bytes, fewer than the length of a header takes");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, all.data(), kLengthBytes);
  TORCH_CHECK_VALUE(header_bytes <= kMaxHeaderBytes, path, ": not a safetensors file: a header of ",
                    header_bytes, " bytes, more than the format's limit of ", kMaxHeaderBytes);
  TORCH_CHECK_VALUE(header_bytes <= bytes - kLengthBytes, path, ": truncated: a header of ",
                    header_bytes, " bytes in a file of ", bytes);
  mapping_->data_begin = kLengthBytes + header_bytes;
  const std::string_view header = all.substr(kLengthBytes, header_bytes);
  for (SafetensorsItem& item :
       parse_safetensors_header(header, bytes - mapping_->data_begin, path)) {
    entries_.emplace(std::move(item.name),
                     Entry{item.dtype, std::move(item.shape), item.begin, item.end});
  }
}

SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> all;
  all.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) all.push_back(name);
  return all;
}

bool SafetensorsFile::contains(const std::string& name) const { return entries_.count(name) > 0; }

std::string_view SafetensorsFile::bytes_of(const Entry& entry) const {
  return mapping_->file.bytes().substr(mapping_->data_begin + entry.begin, entry.end - entry.begin);
}

void SafetensorsFile::release(const at::Tensor& part) const {
  const std::string_view all = mapping_->file.bytes();
  const auto* const begin = static_cast<const char*>(part.const_data_ptr());
  // A tensor that was not aligned in the file is a copy of its own.
  if (begin < all.data() || begin >= all.data() + all.size() || !part.is_contiguous()) return;
  mapping_->file.release({begin, part.nbytes()});
}

at::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const auto found = entries_.find(name);
  TORCH_CHECK_VALUE(found != entries_.end(), path_, ": holds no tensor named ", name);
  const Entry& entry = found->second;
  // ATen takes a mutable pointer; the pages are mapped read-only, so a write would fault instead of
  // changing the file.
  char* const data = const_cast<char*>(bytes_of(entry).data());
  const auto options = at::TensorOptions().dtype(entry.dtype);
  if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(entry.dtype) != 0) {
    // Old writers did not pad the header: kernels want aligned elements, so this one is copied.
    at::Tensor copy = at::empty(entry.shape, options);  // (shape as in the file)
    if (entry.end > entry.begin)
      std::memcpy(copy.mutable_data_ptr(), data, entry.end - entry.begin);
    return copy;
  }
  return at::from_blob(
      data, entry.shape, [keep = mapping_](void*) {}, options);  // (shape as in the file)
}

FileSum write_safetensors(const std::string& path,
                          const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  std::vector<SafetensorsItem> items;
  items.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) {
    TORCH_CHECK(tensor.device().is_cpu(), "only CPU tensors can be written: ", name);
    items.push_back({name, tensor.scalar_type(), tensor.sizes().vec(), 0, 0});
  }
  const std::string header = make_safetensors_header(items);
  const uint64_t header_bytes = header.size();
  AtomicFile file(path);
  FileSum sum;
  Checksum checksum;
  const auto write = [&](const void* data, size_t bytes) {
    file.write(data, bytes);
    checksum.add({static_cast<const char*>(data), bytes});
    sum.bytes += static_cast<int64_t>(bytes);
  };
  write(&header_bytes, kLengthBytes);
  write(header.data(), header.size());
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor dense = tensor.contiguous();  // (shape of the tensor)
    write(dense.const_data_ptr(), dense.nbytes());
  }
  file.commit();
  sum.checksum = checksum.hex();
  return sum;
}

}  // namespace temper
