// A file that appears whole or not at all: written under a temporary name in the same folder,
// synced to the disk, renamed. A reader never sees half a checkpoint, and an old one survives a
// failed write.
#pragma once

#include <cstddef>
#include <string>

namespace temper {

class AtomicFile {
 public:
  /// Opens `path`.tmp.PID for writing. Throws c10::Error naming path and reason.
  explicit AtomicFile(std::string path);
  /// Removes the temporary file unless commit() was reached.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends. Throws c10::Error naming path, bytes and reason.
  void write(const void* data, size_t bytes);

  /// Writes over what stands at `at` already: a header whose numbers are known at the end. Throws
  /// c10::Error naming path, bytes and reason.
  void overwrite(size_t at, const void* data, size_t bytes);

  /// Syncs, closes, renames to `path` and syncs the folder. Throws c10::Error naming path and
  /// reason.
  void commit();

 private:
  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
  bool done_ = false;
};

/// Until the names in the folder `path` are on the disk. Some network file systems cannot sync
/// folders; there it does nothing.
void sync_folder(const std::string& path);

/// The whole of `text` as the file `path`, atomically. Throws c10::Error naming path and reason.
void write_text_file(const std::string& path, const std::string& text);

}  // namespace temper
