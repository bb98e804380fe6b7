// The files of a tokenizer as they lie in a model's Hugging Face folder, so that a student opens
// with the tokenizer of its data.
#pragma once

#include <string>
#include <vector>

namespace temper {

struct TokenizerFile {
  std::string name;  ///< inside the folder
  std::string content;
};

/// What a model's folder needs for the tokenizer that `tokenizer` names: `bytes`, a SentencePiece
/// .model, a tokenizer.json, or a Hugging Face folder; empty: nothing. The files that lie beside it
/// and belong to it (tokenizer_config.json, chat template, ...) come along; for bytes, and for a
/// SentencePiece model that has none beside it, they are made, so that `transformers` opens it and
/// reads a text as temper does.
/// Throws c10::ValueError naming the file that cannot be read.
std::vector<TokenizerFile> tokenizer_files(const std::string& tokenizer);

/// False where the tokenizer_config.json beside a SentencePiece .model says `add_bos_token: false`:
/// no text begins with a beginning-of-sequence token then, whatever the model itself knows. True
/// otherwise (a tokenizer.json says itself what comes before a text). Throws c10::ValueError naming
/// the file where it is not valid.
bool adds_bos_token(const std::string& tokenizer_file);

/// True where the folder has a tokenizer that open_tokenizer() takes.
bool has_tokenizer(const std::string& dir);

/// A tokenizer.json of byte-level BPE without merges, whose ids are the bytes themselves.
std::string byte_tokenizer_json();

}  // namespace temper
