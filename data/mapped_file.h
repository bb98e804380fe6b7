// A file mapped into memory, read-only.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace temper {

class MappedFile {
 public:
  /// `option` names the option that gave the path, for messages. Throws c10::ValueError where it is
  /// missing, no regular file, or empty.
  explicit MappedFile(const std::string& path, const std::string& option = {});
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;

  std::string_view bytes() const { return {data_, size_}; }

  /// Gives the whole pages of `part` (a range of bytes()) back to the system: they no longer count
  /// as this process's memory, and are read again from the file where they are used again.
  void release(std::string_view part) const;

 private:
  const char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace temper
