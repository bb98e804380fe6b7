// Mapping and writing of safetensors files; the header's rules are in safetensors_header.cpp.
#include "model/safetensors.h"

#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "model/atomic_file.h"
#include "model/safetensors_header.h"

namespace temper {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data are little-endian");

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as in the reference implementation

}  // namespace

struct SafetensorsFile::Mapping {
  explicit Mapping(const std::string& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    TORCH_CHECK_VALUE(descriptor >= 0, path, ": cannot be opened: ", std::strerror(errno));
    struct stat status = {};
    const bool regular = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
    bytes = regular ? static_cast<uint64_t>(status.st_size) : 0;
    if (bytes > 0) {
      void* const mapped = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
      if (mapped != MAP_FAILED) data = static_cast<const char*>(mapped);
    }
    const int error = errno;
    ::close(descriptor);
    TORCH_CHECK_VALUE(regular, path, ": not a regular file");
    TORCH_CHECK_VALUE(bytes > 0, path, ": truncated: the file is empty");
    TORCH_CHECK(data != nullptr, path, ": cannot be mapped: ", std::strerror(error));
  }
  ~Mapping() { ::munmap(const_cast<char*>(data), bytes); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  const char* data = nullptr;
  uint64_t bytes = 0;
  uint64_t data_begin = 0;  // where the header ends
};

SafetensorsFile::SafetensorsFile(const std::string& path)
    : path_(path), mapping_(std::make_shared<Mapping>(path)) {
  const uint64_t bytes = mapping_->bytes;
  TORCH_CHECK_VALUE(bytes >= kLengthBytes, path, ": truncated: only ", bytes,
                    " bytes, fewer than the length of a header takes");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, mapping_->data, kLengthBytes);
  TORCH_CHECK_VALUE(header_bytes <= kMaxHeaderBytes, path, ": not a safetensors file: a header of ",
                    header_bytes, " bytes, more than the format's limit of ", kMaxHeaderBytes);
  TORCH_CHECK_VALUE(header_bytes <= bytes - kLengthBytes, path, ": truncated: a header of ",
                    header_bytes, " bytes in a file of ", bytes);
  mapping_->data_begin = kLengthBytes + header_bytes;
  const std::string_view header(mapping_->data + kLengthBytes, header_bytes);
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

at::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const auto found = entries_.find(name);
  TORCH_CHECK_VALUE(found != entries_.end(), path_, ": holds no tensor named ", name);
  const Entry& entry = found->second;
  // ATen takes a mutable pointer; the pages are mapped read-only, so a write would fault instead of
  // changing the file.
  char* const data = const_cast<char*>(mapping_->data) + mapping_->data_begin + entry.begin;
  const auto options = at::TensorOptions().dtype(entry.dtype);
  if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(entry.dtype) != 0) {
    // Old writers did not pad the header: kernels want aligned elements, so this one is copied.
    at::Tensor copy = at::empty(entry.shape, options);  // (shape as in the file)
    std::memcpy(copy.mutable_data_ptr(), data, entry.end - entry.begin);
    return copy;
  }
  return at::from_blob(
      data, entry.shape, [keep = mapping_](void*) {}, options);  // (shape as in the file)
}

void write_safetensors(const std::string& path,
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
  file.write(&header_bytes, kLengthBytes);
  file.write(header.data(), header.size());
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor dense = tensor.contiguous();  // (shape of the tensor)
    file.write(dense.const_data_ptr(), dense.nbytes());
  }
  file.commit();
}

}  // namespace temper
