// Temporary name, fsync, rename, in POSIX calls: streams of the standard library cannot sync.
#include "data/atomic_file.h"

#include <c10/util/Exception.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace temper {

AtomicFile::AtomicFile(std::string path)
    : path_(std::move(path)), temporary_(path_ + ".tmp." + std::to_string(::getpid())) {
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  TORCH_CHECK(descriptor_ >= 0, "cannot write ", path_, ": ", std::strerror(errno));
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!done_) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  const char* next = static_cast<const char*>(data);
  size_t left = bytes;
  while (left > 0) {
    // Linux moves at most 2 GiB a call.
    const ssize_t written = ::write(descriptor_, next, std::min<size_t>(left, size_t{1} << 30));
    if (written < 0 && errno == EINTR) continue;
    TORCH_CHECK(written >= 0, "cannot write ", bytes, " bytes to ", path_, ": ",
                std::strerror(errno));
    next += written;
    left -= static_cast<size_t>(written);
  }
}

void AtomicFile::overwrite(size_t at, const void* data, size_t bytes) {
  const ssize_t written = ::pwrite(descriptor_, data, bytes, static_cast<off_t>(at));
  TORCH_CHECK(written == static_cast<ssize_t>(bytes), "cannot write ", bytes, " bytes to ", path_,
              ": ", written < 0 ? std::strerror(errno) : "the disk took fewer");
}

void AtomicFile::commit() {
  TORCH_CHECK(::fsync(descriptor_) == 0, "cannot sync ", path_, ": ", std::strerror(errno));
  const int closed = ::close(std::exchange(descriptor_, -1));
  TORCH_CHECK(closed == 0, "cannot close ", path_, ": ", std::strerror(errno));
  TORCH_CHECK(::rename(temporary_.c_str(), path_.c_str()) == 0, "cannot rename ", temporary_,
              " to ", path_, ": ", std::strerror(errno));
  done_ = true;
  // The new name reaches the disk with its folder; the data are safe by then.
  const size_t slash = path_.rfind('/');
  sync_folder(slash == std::string::npos ? "." : path_.substr(0, slash + 1));
}

void sync_folder(const std::string& path) {
  const int opened = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (opened < 0) return;
  ::fsync(opened);
  ::close(opened);
}

void write_text_file(const std::string& path, const std::string& text) {
  AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

}  // namespace temper
