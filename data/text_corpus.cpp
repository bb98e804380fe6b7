#include "data/text_corpus.h"

#include <algorithm>

#include "data/fingerprint.h"
#include "data/utf8.h"

namespace temper {

TextCorpus::TextCorpus(std::string path, std::vector<int32_t> ids,
                       const std::array<int64_t, 3>& part_tokens, int64_t vocab,
                       std::string tokenizer, std::string tokenizer_file)
    : TokenStream(vocab, part_tokens),
      path_(std::move(path)),
      ids_(std::move(ids)),
      tokenizer_(std::move(tokenizer)),
      tokenizer_file_(std::move(tokenizer_file)) {}

std::string TextCorpus::describe() const {
  return path_ + " (" + tokenizer_ + ", vocabulary " + std::to_string(vocab()) + "), " +
         describe_parts();
}

uint64_t TextCorpus::fingerprint() const {
  return Fingerprint()
      .add(std::string_view(reinterpret_cast<const char*>(ids_.data()),
                            ids_.size() * sizeof(int32_t)))
      .add(static_cast<uint64_t>(range(Part::kTrain).size()))
      .add(static_cast<uint64_t>(range(Part::kTest).size()))
      .value();
}

void TextCorpus::copy(int64_t begin, int64_t count, int64_t* out) const {
  std::copy_n(ids_.begin() + begin, count, out);
}

std::array<std::string_view, 3> text_parts(std::string_view text, double fit_share,
                                           double test_share) {
  const auto bytes = part_sizes(static_cast<int64_t>(text.size()), fit_share, test_share);
  const size_t fit = next_character(text, static_cast<size_t>(bytes[0]));
  const size_t test = next_character(text, static_cast<size_t>(bytes[0] + bytes[1]));
  return {text.substr(0, fit), text.substr(fit, test - fit), text.substr(test)};
}

std::vector<int32_t> encode_text(const Tokenizer& tokenizer, std::string_view text) {
  constexpr size_t kPiece = 1 << 20;
  std::vector<int32_t> ids;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.size() - begin <= kPiece
                           ? text.size()
                           : begin + tokenizer.next_cut(text.substr(begin), kPiece);
    const std::string_view part = text.substr(begin, end - begin);
    const std::vector<int32_t> piece =
        begin == 0 ? tokenizer.encode(part) : tokenizer.encode_rest(part);
    ids.insert(ids.end(), piece.begin(), piece.end());
    begin = end;
  }
  return ids;
}

}  // namespace temper
