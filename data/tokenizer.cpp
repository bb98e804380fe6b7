#include "data/tokenizer.h"

#include <c10/util/Exception.h>

#include <filesystem>

#include "data/fingerprint.h"
#include "data/sentencepiece.h"
#include "data/tokenizer_json.h"

namespace temper {

namespace fs = std::filesystem;

namespace {

class ByteTokenizer : public Tokenizer {
 public:
  int64_t vocab() const override { return 256; }
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids(text.size());
    for (size_t i = 0; i < text.size(); ++i) ids[i] = static_cast<unsigned char>(text[i]);
    return ids;
  }
  size_t next_cut(std::string_view text, size_t from) const override {
    return std::min(from, text.size());
  }
  std::string decode(const std::vector<int32_t>& ids) const override {
    return {ids.begin(), ids.end()};
  }
  std::string token(int32_t id) const override { return {static_cast<char>(id)}; }
  std::string describe() const override { return "bytes"; }
};

}  // namespace

uint64_t fingerprint(const Tokenizer& tokenizer) {
  Fingerprint hash;
  for (int64_t id = 0; id < tokenizer.vocab(); ++id)
    hash.add(tokenizer.token(static_cast<int32_t>(id)));
  return hash.value();
}

std::unique_ptr<Tokenizer> make_byte_tokenizer() { return std::make_unique<ByteTokenizer>(); }

std::unique_ptr<Tokenizer> open_tokenizer(const std::string& path, const std::string& option) {
  if (path == "bytes") return make_byte_tokenizer();
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    return fs::path(path).extension() == ".json" ? open_tokenizer_json(path, option)
                                                 : open_sentencepiece(path, option);
  }
  const std::string json = (fs::path(path) / "tokenizer.json").string();
  const std::string model = (fs::path(path) / "tokenizer.model").string();
  const bool has_json = fs::is_regular_file(json, error);
  const bool has_model = fs::is_regular_file(model, error);
  TORCH_CHECK_VALUE(has_json || has_model, "--", option, " ", path,
                    ": this folder holds no tokenizer.json and no tokenizer.model");
  if (!has_json) return open_sentencepiece(model, option);
  if (!has_model) return open_tokenizer_json(json, option);
  try {
    return open_tokenizer_json(json, option);
  } catch (const c10::ValueError& refusal) {
    return open_sentencepiece(model, option, refusal.what_without_backtrace());
  }
}

}  // namespace temper
