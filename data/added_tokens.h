// Tokens that stand outside the model's merges: <|endoftext|> and its like. They are looked for in
// a text before anything else is done to it, and cut it into pieces. The flags mean what they mean
// in Hugging Face's `tokenizers` (AddedToken): lstrip and rstrip take the white space beside the
// token with it, single_word asks for an edge of a word on both sides, normalized tokens are
// looked for after the normalizer has run, the others before, special ones give no text when ids
// are decoded.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/split_pattern.h"

namespace temper {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;
  bool lstrip = false;
  bool rstrip = false;
  bool single_word = false;
  bool normalized = false;
};

/// Finds tokens in texts; of several that begin at one place the longest.
class AddedTokenFinder {
 public:
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);

  /// A piece of the text: its bytes [begin, end), and the token it is, or -1.
  struct Piece {
    size_t begin, end;
    int32_t id;
  };
  /// Appends the pieces of `text` (UTF-8) in order. Empty pieces between tokens are left out.
  void split(std::string_view text, std::vector<Piece>& pieces, MatchState& state) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  const AddedToken* longest_at(std::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string_view, size_t> by_content_;  // of the first with this content
  std::array<std::vector<size_t>, 256> lengths_;  // of tokens by their first byte, longest first
  SplitPattern word_before_, word_after_, spaces_before_, spaces_after_;
};

}  // namespace temper
