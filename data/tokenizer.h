// Text to token ids and back: by bytes, by a SentencePiece model, or by the byte-level BPE of a
// Hugging Face tokenizer.json.
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
  /// has them. Adds none by itself. Bytes that are no UTF-8 are read as U+FFFD, as Python's
  /// decode(errors="replace") does (by `bytes`: as they are). Thread-safe.
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  /// The first place at or after `from` where a text may be cut without a change of ids: encode()
  /// of all is encode() of what is before it and encode_rest() of what follows. text.size() where
  /// none is known. Thread-safe.
  virtual size_t next_cut(std::string_view text, size_t from) const = 0;
  /// The ids of what follows such a cut. Thread-safe.
  virtual std::vector<int32_t> encode_rest(std::string_view text) const { return encode(text); }
  /// The text of ids in [0, vocab()); special tokens give no text. The bytes are what the tokens
  /// say: where ids end in the middle of a character, so does the text. Thread-safe.
  virtual std::string decode(const std::vector<int32_t>& ids) const = 0;
  /// As decode(), with the special tokens spelt out where the format can. Thread-safe.
  virtual std::string decode_all(const std::vector<int32_t>& ids) const { return decode(ids); }
  /// The token as its file spells it, for messages and comparisons. id in [0, vocab()).
  virtual std::string token(int32_t id) const = 0;
  /// Put before a text that a model is to go on with (Llama's beginning-of-sequence token).
  virtual std::vector<int32_t> prefix() const { return {}; }
  /// What ends a document, where the format says so.
  virtual std::optional<int32_t> end_of_document() const { return std::nullopt; }
  virtual std::string describe() const = 0;
  /// The file it was read from, or empty.
  virtual std::string file() const { return {}; }
};

/// A hash of all tokens as their file spells them, in the order of their ids: the same for the same
/// vocabulary, whatever file it came from.
uint64_t fingerprint(const Tokenizer& tokenizer);

/// Each byte is its own id: vocabulary 256.
std::unique_ptr<Tokenizer> make_byte_tokenizer();

/// Opens what `path` names: `bytes`, a SentencePiece .model, a tokenizer.json (by its name's end),
/// or a Hugging Face folder that holds one of them. In a folder with both the tokenizer.json
/// counts; where it is not of a kind that temper reads the tokenizer.model does, and describe()
/// says so. Throws c10::ValueError naming `option`, the path and the remedy.
std::unique_ptr<Tokenizer> open_tokenizer(const std::string& path, const std::string& option);

}  // namespace temper
