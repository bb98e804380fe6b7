// A file that appears whole or not at all: written under a temporary name in the same folder,
// synced to the disk, renamed. A reader never sees half a checkpoint, and an old one survives a
// failed write.
//
// Large files go past the page cache (O_DIRECT) where the file system can: a checkpoint is seldom
// read again, and the copy into pages of the system takes several times the processor's time of all
// else that is done to write it.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <functional>
#include <memory>
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

  /// Appends; up to 4 MiB wait for more. Throws c10::Error naming path, bytes and reason.
  void write(const void* data, size_t bytes);

  /// Writes over what stands at `at` already: a header whose numbers are known at the end. Throws
  /// c10::Error naming path, bytes and reason.
  void overwrite(size_t at, const void* data, size_t bytes);

  /// Writes what waits, syncs, closes, renames to `path` and syncs the folder. Throws c10::Error
  /// naming path and reason, and the bytes where it is writing that fails.
  void commit();

 private:
  struct Free {
    void operator()(char* memory) const { std::free(memory); }
  };
  void write_out(const char* data, size_t bytes);
  void flush();
  void go_direct(bool direct);

  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
  bool done_ = false;
  std::unique_ptr<char, Free> waiting_;  // aligned as O_DIRECT wants it
  size_t waiting_bytes_ = 0;
  bool direct_ = false;  // now
  bool may_be_direct_ = true;
};

/// Until the names in the folder `path` are on the disk. Some network file systems cannot sync
/// folders; there it does nothing.
void sync_folder(const std::string& path);

/// The whole of `text` as the file `path`, atomically. Throws c10::Error naming path and reason.
void write_text_file(const std::string& path, const std::string& text);

/// Removes from the folder `dir` what AtomicFiles left under their temporary names when their
/// process was killed; where `wanted` is given, only of the files NAME with wanted(NAME). Nobody
/// may be writing there.
void remove_unfinished_files(const std::string& dir,
                             const std::function<bool(const std::string& name)>& wanted = {});

}  // namespace temper
