// Writes token files in the formats that token_file.h reads: NumPy's .npy, llm.c's .bin, and
// Megatron's .bin with its .idx, which alone keeps where documents end. They appear whole or not
// at all.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/atomic_file.h"

namespace temper {

enum class TokenFormat { kNpy, kLlmc, kMegatron };

/// `npy`, `llm.c` or `megatron`. Throws c10::ValueError naming `option` and the value.
TokenFormat token_format(const std::string& name, const std::string& option);

/// Throws c10::ValueError naming `option`, the file and the remedy where one of a TokenWriter's
/// files is there already: ids cannot be got back.
void check_no_token_file(const std::string& path, TokenFormat format, const std::string& option);

class TokenWriter {
 public:
  /// Ids lie in [0, vocab), which says how many bytes each takes: two where they suffice, else
  /// four. `path` of the Megatron format may end with .bin, with .idx, or with neither. Throws
  /// c10::Error where the file cannot be written.
  TokenWriter(const std::string& path, TokenFormat format, int64_t vocab);

  /// Appends to the document under way.
  void write(std::span<const int32_t> ids);
  /// Ends the document under way. Throws c10::ValueError where it is too long for the format.
  void end_document();
  /// Completes the files. Throws c10::ValueError where there are no tokens, or more than the format
  /// can count.
  void commit();

  int64_t documents() const { return documents_; }
  int64_t tokens() const { return tokens_; }
  /// "NumPy u2", as TokenFile says it.
  std::string describe() const;
  /// The file to name when reading.
  const std::string& path() const { return path_; }

 private:
  std::string header() const;
  void commit_index() const;

  TokenFormat format_;
  int id_bytes_;
  std::string path_;
  AtomicFile file_;
  int64_t documents_ = 0;
  int64_t tokens_ = 0;
  int64_t document_tokens_ = 0;
  std::vector<int32_t> lengths_;  // of the documents, for Megatron's index
  std::string bytes_;
};

}  // namespace temper
