// Checksums of files: XXH3 with 128 bits (Collet, https://xxhash.com), as fast as memory is read.
// They find damage; they are no protection against someone who means harm.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace temper {

/// The canonical form of XXH3-128: sixteen bytes, the most significant first.
using ChecksumBytes = std::array<char, 16>;

/// Of bytes that come piece by piece.
class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(Checksum&&) noexcept;
  Checksum& operator=(Checksum&&) noexcept;

  Checksum& add(std::string_view bytes);
  ChecksumBytes value() const;
  /// 32 hexadecimal digits.
  std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Of all these bytes.
ChecksumBytes checksum(std::string_view bytes);

/// 32 hexadecimal digits, the same as of the tool `xxhsum -H2`.
std::string hex_text(const ChecksumBytes& value);

/// What tells whether a file is still the one that was written.
struct FileSum {
  int64_t bytes = 0;
  std::string checksum;  ///< hex_text()

  bool operator==(const FileSum&) const = default;
};

/// hex_text() of a whole file. Throws c10::ValueError naming the file where it cannot be read.
std::string file_checksum(const std::string& path);

}  // namespace temper
