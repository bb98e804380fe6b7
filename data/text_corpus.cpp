#include "data/text_corpus.h"

#include <algorithm>

#include "data/fingerprint.h"

namespace temper {

TextCorpus::TextCorpus(std::string path, std::vector<int32_t> ids, int64_t vocab, std::string tokenizer, std::string tokenizer_file,
                       double fit_share, double test_share)
    : TokenStream(vocab, static_cast<int64_t>(ids.size()), fit_share, test_share),
      path_(std::move(path)),
      ids_(std::move(ids)),
      tokenizer_(std::move(tokenizer)),
      tokenizer_file_(std::move(tokenizer_file)) {}

std::string TextCorpus::describe() const {
  return path_ + " (" + tokenizer_ + ", vocabulary " + std::to_string(vocab()) + "), " + describe_parts();
}

uint64_t TextCorpus::fingerprint() const {
  return Fingerprint()
      .add(std::string_view(reinterpret_cast<const char*>(ids_.data()), ids_.size() * sizeof(int32_t)))
      .add(static_cast<uint64_t>(range(Part::kTrain).size()))
      .add(static_cast<uint64_t>(range(Part::kTest).size()))
      .value();
}

void TextCorpus::copy(int64_t begin, int64_t count, int64_t* out) const { std::copy_n(ids_.begin() + begin, count, out); }

std::vector<int32_t> encode_text(const Tokenizer& tokenizer, std::string_view text) {
  constexpr size_t kPiece = 1 << 20;
  std::vector<int32_t> ids;
  while (!text.empty()) {
    size_t end = text.size() <= kPiece ? text.size() : text.rfind('\n', kPiece) + 1;  // npos + 1 is 0: no line ends
    if (end == 0) end = kPiece;
    const std::vector<int32_t> piece = tokenizer.encode(text.substr(0, end));
    ids.insert(ids.end(), piece.begin(), piece.end());
    text.remove_prefix(end);
  }
  return ids;
}

}  // namespace temper
