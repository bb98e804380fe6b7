// Text to token ids and back: by bytes, or by a SentencePiece model.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace temper {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual int64_t vocab() const = 0;
  /// The ids of a text. Adds no special tokens.
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  virtual std::string decode(const std::vector<int32_t>& ids) const = 0;
  virtual std::string describe() const = 0;
};

/// Each byte is its own id: vocabulary 256.
std::unique_ptr<Tokenizer> make_byte_tokenizer();

/// Opens a SentencePiece .model (Kudo and Richardson 2018, arXiv 1808.06226). Throws
/// c10::ValueError naming the file.
std::unique_ptr<Tokenizer> open_sentencepiece(const std::string& path);

/// Trains a SentencePiece BPE model with byte fallback (so that every text can be encoded) on
/// `text` and writes it to `path`, through a temporary name and a rename. Deterministic. Throws
/// c10::ValueError naming --data.vocab where the text cannot fill or the vocabulary cannot hold
/// what is needed.
void train_sentencepiece(std::string_view text, int64_t vocab, const std::string& path);

}  // namespace temper
