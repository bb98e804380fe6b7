// A text file as a corpus: tokenized at once and held in memory (4 bytes a token).
#pragma once

#include "data/token_stream.h"
#include "data/tokenizer.h"

namespace temper {

class TextCorpus : public TokenStream {
 public:
  /// `ids` are the text's, whole. `tokenizer_file` is kept beside models, or empty.
  TextCorpus(std::string path, std::vector<int32_t> ids, int64_t vocab, std::string tokenizer, std::string tokenizer_file,
             double fit_share, double test_share);

  std::string describe() const override;
  uint64_t fingerprint() const override;
  std::string tokenizer_file() const override { return tokenizer_file_; }

 protected:
  void copy(int64_t begin, int64_t count, int64_t* out) const override;

 private:
  std::string path_;
  std::vector<int32_t> ids_;
  std::string tokenizer_;
  std::string tokenizer_file_;
};

/// Encodes a text of any size, in pieces that end with lines (a tokenizer never sees more than a few MiB at once).
std::vector<int32_t> encode_text(const Tokenizer& tokenizer, std::string_view text);

}  // namespace temper
