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

/// All tokens that are added to one tokenizer.
class AddedTokens {
 public:
  /// `normalize` makes of a normalized token's content what it is looked for as.
  AddedTokens(const std::vector<AddedToken>& tokens,
              const std::function<std::string(const std::string&)>& normalize);

  /// What one thread needs.
  struct Workspace {
    MatchState state;
    std::vector<AddedTokenFinder::Piece> raw, normalized;
  };

  /// Goes through `text` (UTF-8) in order: `on_token(id)` for each token, and for what lies between
  /// `on_text(part, begins)`, where `begins` says that it is the beginning of the text. `normalize`
  /// gives the view of a part in which the normalized tokens are looked for.
  template <typename Normalize, typename OnToken, typename OnText>
  void split(std::string_view text, Workspace& space, const Normalize& normalize,
             const OnToken& on_token, const OnText& on_text) const {
    space.raw.clear();
    raw_.split(text, space.raw, space.state);
    for (const auto& piece : space.raw) {
      if (piece.id >= 0) {
        on_token(piece.id);
        continue;
      }
      const std::string_view rest = normalize(text.substr(piece.begin, piece.end - piece.begin));
      space.normalized.clear();
      normalized_.split(rest, space.normalized, space.state);
      for (const auto& inner : space.normalized) {
        if (inner.id >= 0) {
          on_token(inner.id);
        } else {
          on_text(rest.substr(inner.begin, inner.end - inner.begin),
                  piece.begin == 0 && inner.begin == 0);
        }
      }
    }
  }

 private:
  AddedTokenFinder raw_, normalized_;
};

}  // namespace temper
