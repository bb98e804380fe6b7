// A text file as a corpus: cut into its parts by bytes, each part tokenized on its own, so that a
// tokenizer that was trained on the training part has seen nothing of the others; held in memory (4
// bytes a token).
#pragma once

#include "data/token_stream.h"
#include "data/tokenizer.h"

namespace temper {

class TextCorpus : public TokenStream {
 public:
  /// `ids` are the text's, part after part, `part_tokens` of them to train, to fit and to test on.
  /// `tokenizer_file` is kept beside models, or empty.
  TextCorpus(std::string path, std::vector<int32_t> ids, const std::array<int64_t, 3>& part_tokens,
             int64_t vocab, std::string tokenizer, std::string tokenizer_file);

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

/// The parts of a text to train, to fit and to test on, cut between characters.
std::array<std::string_view, 3> text_parts(std::string_view text, double fit_share,
                                           double test_share);

/// The ids of a text of any size, encoded in pieces of about a MiB where the tokenizer says that a
/// cut changes nothing (and in one piece where it knows of no such place).
std::vector<int32_t> encode_text(const Tokenizer& tokenizer, std::string_view text);

}  // namespace temper
