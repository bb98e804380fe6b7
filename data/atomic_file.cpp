// Temporary name, fsync, rename, in POSIX calls: streams of the standard library cannot sync.
#include "data/atomic_file.h"

#include <c10/util/Exception.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

namespace temper {

namespace {

constexpr size_t kWaiting = size_t{4} << 20;      // bytes
constexpr size_t kAlignment = 4096;               // of memory, place and length for O_DIRECT
constexpr std::string_view kTemporary = ".tmp.";  // between the name and the process's id

}  // namespace

AtomicFile::AtomicFile(std::string path)
    : path_(std::move(path)),
      temporary_(path_ + std::string(kTemporary) + std::to_string(::getpid())),
      waiting_(static_cast<char*>(std::aligned_alloc(kAlignment, kWaiting))) {
  TORCH_CHECK(waiting_, "cannot write ", path_, ": no memory");
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  TORCH_CHECK(descriptor_ >= 0, "cannot write ", path_, ": ", std::strerror(errno));
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!done_) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const size_t part = std::min(bytes, kWaiting - waiting_bytes_);
    std::memcpy(waiting_.get() + waiting_bytes_, next, part);
    waiting_bytes_ += part;
    next += part;
    bytes -= part;
    if (waiting_bytes_ < kWaiting) continue;
    go_direct(true);
    write_out(waiting_.get(), std::exchange(waiting_bytes_, 0));
  }
}

/// What waits is of any length, and so is where the file goes on.
void AtomicFile::flush() {
  go_direct(false);
  may_be_direct_ = may_be_direct_ && waiting_bytes_ == 0;
  write_out(waiting_.get(), std::exchange(waiting_bytes_, 0));
}

void AtomicFile::go_direct(bool direct) {
  if (direct_ == direct || (direct && !may_be_direct_)) return;
  const int flags = ::fcntl(descriptor_, F_GETFL);
  const int wanted = direct ? flags | O_DIRECT : flags & ~O_DIRECT;
  if (::fcntl(descriptor_, F_SETFL, wanted) == 0)
    direct_ = direct;
  else
    may_be_direct_ = false;
}

void AtomicFile::write_out(const char* data, size_t bytes) {
  for (size_t left = bytes; left > 0;) {
    const ssize_t written = ::write(descriptor_, data, left);
    if (written < 0 && errno == EINTR) continue;
    if (direct_ && (written < 0 ? errno == EINVAL : written % kAlignment != 0)) {
      // This file system, or this disk, takes it only through the page cache.
      go_direct(false);
      may_be_direct_ = false;
      if (written < 0 && !direct_) continue;
    }
    TORCH_CHECK(written >= 0, "cannot write ", bytes, " bytes to ", path_, ": ",
                std::strerror(errno));
    data += written;
    left -= static_cast<size_t>(written);
  }
}

void AtomicFile::overwrite(size_t at, const void* data, size_t bytes) {
  flush();
  const ssize_t written = ::pwrite(descriptor_, data, bytes, static_cast<off_t>(at));
  TORCH_CHECK(written == static_cast<ssize_t>(bytes), "cannot write ", bytes, " bytes to ", path_,
              ": ", written < 0 ? std::strerror(errno) : "the disk took fewer");
}

void AtomicFile::commit() {
  flush();
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

void remove_unfinished_files(const std::string& dir,
                             const std::function<bool(const std::string& name)>& wanted) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  std::vector<fs::path> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir, ignored)) {
    const std::string name = entry.path().filename().string();
    const size_t at = name.rfind(kTemporary);
    if (at == std::string::npos) continue;
    const std::string process = name.substr(at + kTemporary.size());
    const bool numbered =
        !process.empty() && process.find_first_not_of("0123456789") == std::string::npos;
    if (numbered && (!wanted || wanted(name.substr(0, at))) &&
        fs::is_regular_file(entry.symlink_status(ignored)))
      found.push_back(entry.path());
  }
  for (const fs::path& path : found) fs::remove(path, ignored);
}

}  // namespace temper
