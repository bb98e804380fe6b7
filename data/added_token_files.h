// The JSON files of a Hugging Face folder that add to its SentencePiece tokenizer.model, read as
// transformers 5 reads them. The ids of added tokens stand in the added_tokens_decoder of
// tokenizer_config.json, or where it has none in added_tokens.json (and in a tokenizer.json that
// lies there, too); tokens that are only named, in tokenizer_config.json or
// special_tokens_map.json, get the ids behind them.
#pragma once

#include <optional>
#include <string>

#include "data/added_pieces.h"

namespace temper {

/// Whether one of these files lies beside the .model.
bool has_added_token_files(const std::string& model);

/// The add_prefix_space of the tokenizer_config.json beside the .model, where it says something.
/// Throws c10::ValueError naming the file.
std::optional<bool> adds_space_before_text(const std::string& model);

/// What the files beside the .model add to its `pieces`. Trusts nothing in them: throws
/// c10::ValueError naming the file, the value and the remedy where a token has two ids or an id two
/// tokens, where an id is another token's in the .model, and where ids behind it have gaps.
AddedPieces read_added_token_files(const std::string& model, const PieceTokenizer& pieces);

}  // namespace temper
