// A SentencePiece model with tokens that the files of its folder add (<|im_end|>, <|user|>): they
// are cut out of a text first, by added_tokens.h, and what lies between them goes to the model. Ids
// and texts are those of transformers 5 (LlamaTokenizer), except where a text begins with a space:
// SentencePiece puts one more before it, transformers does not. Symbols that the model itself was
// told of (user_defined_symbols) stay the model's.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/added_tokens.h"
#include "data/tokenizer.h"

namespace temper {

/// What the files add to a model.
struct AddedPieces {
  /// Each id is that of the piece of this spelling, or follows the model's without gaps.
  std::vector<AddedToken> tokens;
  std::optional<int32_t> beginning_of_text, end_of_text;
  /// Text after a token begins with a space of its own where it has none (`legacy`).
  bool space_after_tokens = false;
  /// Special tokens that are spelt out in a text are text (`split_special_tokens`).
  bool split_special_tokens = false;
};

/// The model, for texts that do not begin where its input begins.
class PieceTokenizer : public Tokenizer {
 public:
  /// The ids of what follows an added token; `spaced`: with the space that the model puts before a
  /// text, unless it begins with one.
  virtual std::vector<int32_t> encode_after_token(std::string_view text, bool spaced) const = 0;
  /// As decode(), but a space at the beginning stays.
  virtual std::string decode_after_token(const std::vector<int32_t>& ids) const = 0;
  /// A piece that is no text: <s> and its like.
  virtual bool is_control(int32_t id) const = 0;
  /// Stands for what the model has no piece for.
  virtual std::optional<int32_t> unknown() const = 0;
};

std::unique_ptr<Tokenizer> with_added_pieces(std::unique_ptr<PieceTokenizer> model,
                                             AddedPieces added);

}  // namespace temper
