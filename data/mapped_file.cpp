#include "data/mapped_file.h"

#include <c10/util/Exception.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace temper {

MappedFile::MappedFile(const std::string& path, const std::string& option) {
  const std::string name = option.empty() ? path : "--" + option + " " + path;
  // A pipe that nobody writes to must not block.
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  TORCH_CHECK_VALUE(file >= 0, name, ": cannot open this file: ", std::strerror(errno));
  struct stat info {};
  const bool known = fstat(file, &info) == 0;
  void* data = MAP_FAILED;
  if (known && S_ISREG(info.st_mode) && info.st_size > 0) {
    data = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, file, 0);
  }
  const int reason = errno;
  close(file);
  TORCH_CHECK_VALUE(known && S_ISREG(info.st_mode), name,
                    ": this is no regular file; name a file, not a folder");
  TORCH_CHECK_VALUE(info.st_size > 0, name,
                    ": truncated: this file is empty; name one that holds data");
  TORCH_CHECK_VALUE(data != MAP_FAILED, name, ": cannot map this file: ", std::strerror(reason));
  data_ = static_cast<const char*>(data);
  size_ = static_cast<size_t>(info.st_size);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<char*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::release(std::string_view part) const {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(part.data()) + page - 1) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(part.data() + part.size()) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace temper
