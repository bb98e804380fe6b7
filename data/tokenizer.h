// Text to token ids and back: by bytes, or by a SentencePiece model.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace temper {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual int64_t vocab() const = 0;
  /// The ids of a text; special tokens that are spelt out in it are recognised where the format
  /// has them. Adds none by itself. Thread-safe.
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  /// The text of ids in [0, vocab()); special tokens give no text. Thread-safe.
  virtual std::string decode(const std::vector<int32_t>& ids) const = 0;
  /// The token as its file spells it, for messages and comparisons. id in [0, vocab()).
  virtual std::string token(int32_t id) const = 0;
  /// Put before a text that a model is to go on with (Llama's beginning-of-sequence token).
  virtual std::vector<int32_t> prefix() const { return {}; }
  /// What ends a document, where the format says so.
  virtual std::optional<int32_t> end_of_document() const { return std::nullopt; }
  virtual std::string describe() const = 0;
};

/// Each byte is its own id: vocabulary 256.
std::unique_ptr<Tokenizer> make_byte_tokenizer();

/// Opens a SentencePiece .model (Kudo and Richardson 2018, arXiv 1808.06226). Throws
/// c10::ValueError naming `option` and the file.
std::unique_ptr<Tokenizer> open_sentencepiece(const std::string& path, const std::string& option);

/// Opens what `path` names: `bytes`, a SentencePiece .model, or a Hugging Face folder that holds a
/// tokenizer.model. Throws c10::ValueError naming `option`, the path and the remedy.
std::unique_ptr<Tokenizer> open_tokenizer(const std::string& path, const std::string& option);

/// Trains a SentencePiece BPE model with byte fallback (so that every text can be encoded) on
/// `text` and writes it to `path`, through a temporary name and a rename. Deterministic. Throws
/// c10::ValueError naming --data.vocab where the text cannot fill or the vocabulary cannot hold
/// what is needed.
void train_sentencepiece(std::string_view text, int64_t vocab, const std::string& path);

}  // namespace temper
