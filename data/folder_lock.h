// One writer a folder: a second job that would write to it is refused before it touches anything.
#pragma once

#include <string>

namespace temper {

/// A lock on a folder, held until the object or the process ends, however it ends. Advisory, and
/// seen on this machine and where the file system shares such locks; where it has none (some
/// network disks) nothing is locked. Of several ranks one holds it. See flock(2).
class FolderLock {
 public:
  FolderLock() = default;  ///< holds nothing
  /// Waits up to `patience_s` seconds for an earlier job that is just ending. Throws
  /// c10::ValueError naming `option` and the folder where another process holds it.
  FolderLock(const std::string& dir, const std::string& option, double patience_s = 10);
  ~FolderLock();
  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&& other) noexcept;

 private:
  int file_ = -1;
};

}  // namespace temper
