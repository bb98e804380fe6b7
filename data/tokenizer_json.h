// The tokenizer.json of Hugging Face's `tokenizers`, where it is a byte-level BPE (GPT-2, Llama 3,
// Qwen and their kin). Every part of such a file changes ids, so that each is either understood
// or refused by name: nothing is passed over.
#pragma once

#include "data/byte_level_bpe.h"

namespace temper {

/// Reads a tokenizer.json, trusting nothing in it: ids, merges and patterns are checked, and memory
/// stays within a small multiple of the file's size. Throws c10::ValueError naming the file, the
/// field, its value and the remedy.
ByteLevelBpe read_tokenizer_json(const std::string& path);

/// Opens a tokenizer.json. What ends a document is <|endoftext|> or <|end_of_text|> where the
/// vocabulary has them, and otherwise the eos_token of the tokenizer_config.json or
/// special_tokens_map.json beside it. Throws as above, naming `option` too.
std::unique_ptr<Tokenizer> open_tokenizer_json(const std::string& path, const std::string& option);

}  // namespace temper
