// Byte-level BPE, the tokenizer of GPT-2, Llama 3 and Qwen. A text goes through five steps, each of
// which may be empty: added tokens are cut out, the rest is put into its normal form, cut into
// words by patterns, and each word's bytes are merged by rank.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/added_tokens.h"
#include "data/byte_pair_merges.h"
#include "data/tokenizer.h"

namespace temper {

/// All that makes one such tokenizer.
struct ByteLevelBpe {
  /// A pattern that cuts a text into its matches and what lies between them.
  struct Split {
    std::string pattern;  ///< in Oniguruma's dialect
    bool drop_matches = false;
    bool drop_gaps = false;
  };

  std::string path;
  std::vector<std::string> spelling;  ///< of each id, as the file has it; empty: no token
  std::vector<std::string> bytes;     ///< of each id, for decoding
  std::array<int32_t, 256> byte_ids{};
  std::vector<BytePairMerges::Merge> merges;
  bool ignore_merges = false;     ///< a word that is a token is this token
  bool compose = false;           ///< normal form C
  std::vector<Split> splits;      ///< one after the other
  bool add_prefix_space = false;  ///< a space before each piece that has none, after the splits
  bool gpt2_words = false;        ///< kGpt2Words after that
  std::vector<AddedToken> added;
  std::vector<int32_t> prefix;
  std::optional<int32_t> end_of_document;
};

/// The words of GPT-2 (its encoder.py), which ByteLevel cuts where it is not told otherwise.
inline constexpr const char* kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// The cuts of the pre-tokenizer Digits: Rust's char::is_numeric, which in `tokenizers` 0.23 knows
/// the 13 numbers that Unicode 17.0 added; its patterns do not.
inline constexpr const char* kDigit = R"([\p{N}\x{11DE0}-\x{11DE9}\x{16FF4}-\x{16FF6}])";
inline constexpr const char* kDigits = R"([\p{N}\x{11DE0}-\x{11DE9}\x{16FF4}-\x{16FF6}]+)";

/// Throws c10::ValueError naming the file where a pattern cannot be used.
std::unique_ptr<Tokenizer> make_byte_level_tokenizer(ByteLevelBpe parts);

}  // namespace temper
