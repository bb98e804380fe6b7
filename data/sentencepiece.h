// SentencePiece models (.model files of Llama 2, Mistral and others): opened, and trained.
#pragma once

#include "data/added_pieces.h"
#include "data/tokenizer.h"

namespace temper {

/// Opens a SentencePiece .model (Kudo and Richardson 2018, arXiv 1808.06226), with what the files
/// beside it add to it (added_token_files.h). Throws c10::ValueError naming `option` and the file.
/// `note` goes into describe().
std::unique_ptr<Tokenizer> open_sentencepiece(const std::string& path, const std::string& option,
                                              const std::string& note = {});

/// The .model alone, whatever lies beside it.
std::unique_ptr<PieceTokenizer> open_pieces(const std::string& path, const std::string& option);

/// Trains a SentencePiece BPE model with byte fallback (so that every text can be encoded) on
/// `text` and writes it to `path`, through a temporary name and a rename. Deterministic. Throws
/// c10::ValueError naming --data.vocab where the text cannot fill or the vocabulary cannot hold
/// what is needed.
void train_sentencepiece(std::string_view text, int64_t vocab, const std::string& path);

}  // namespace temper
