#include "data/tokenizer.h"

#include <c10/util/Exception.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "data/utf8.h"

namespace temper {

namespace fs = std::filesystem;

namespace {

// SentencePiece works line by line and takes no longer lines.
constexpr size_t kLongestLine = 4096;

class ByteTokenizer : public Tokenizer {
 public:
  int64_t vocab() const override { return 256; }
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids(text.size());
    for (size_t i = 0; i < text.size(); ++i) ids[i] = static_cast<unsigned char>(text[i]);
    return ids;
  }
  std::string decode(const std::vector<int32_t>& ids) const override {
    return {ids.begin(), ids.end()};
  }
  std::string token(int32_t id) const override { return {static_cast<char>(id)}; }
  std::string describe() const override { return "bytes"; }
};

class SentencePiece : public Tokenizer {
 public:
  SentencePiece(const std::string& path, const std::string& option) : path_(path) {
    const auto status = processor_.Load(path);
    TORCH_CHECK_VALUE(status.ok(), "--", option, " ", path, ": this is no SentencePiece model (",
                      status.ToString(), ")");
  }
  int64_t vocab() const override { return processor_.GetPieceSize(); }
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int> ids;
    const auto status = processor_.Encode({text.data(), text.size()}, &ids);
    TORCH_CHECK(status.ok(), path_, ": ", status.ToString());
    return {ids.begin(), ids.end()};
  }
  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string text;
    const auto status = processor_.Decode(std::vector<int>(ids.begin(), ids.end()), &text);
    TORCH_CHECK(status.ok(), path_, ": ", status.ToString());
    return text;
  }
  std::string token(int32_t id) const override { return processor_.IdToPiece(id); }
  std::vector<int32_t> prefix() const override {
    return processor_.bos_id() < 0 ? std::vector<int32_t>{}
                                   : std::vector<int32_t>{processor_.bos_id()};
  }
  std::optional<int32_t> end_of_document() const override {
    return processor_.eos_id() < 0 ? std::nullopt : std::optional<int32_t>(processor_.eos_id());
  }
  std::string describe() const override { return "SentencePiece " + path_; }

 private:
  std::string path_;
  sentencepiece::SentencePieceProcessor processor_;
};

/// The text in lines that the trainer takes.
class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(std::string_view text) : rest_(text) { Next(); }
  bool done() const override { return done_; }
  void Next() override {
    if (rest_.empty()) {
      done_ = true;
      return;
    }
    size_t end = std::min({rest_.find('\n'), rest_.size(), kLongestLine});
    if (end == kLongestLine) end = next_character(rest_, end - 3);
    line_ = rest_.substr(0, end);
    rest_.remove_prefix(
        std::min(rest_.size(), end < rest_.size() && rest_[end] == '\n' ? end + 1 : end));
  }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::string_view rest_;
  std::string line_;
  bool done_ = false;
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_tokenizer() { return std::make_unique<ByteTokenizer>(); }

std::unique_ptr<Tokenizer> open_sentencepiece(const std::string& path, const std::string& option) {
  std::error_code error;
  TORCH_CHECK_VALUE(
      fs::is_regular_file(path, error), "--", option, " ", path,
      ": no such file; give bytes, sentencepiece, or the path of a SentencePiece .model");
  return std::make_unique<SentencePiece>(path, option);
}

std::unique_ptr<Tokenizer> open_tokenizer(const std::string& path, const std::string& option) {
  if (path == "bytes") return make_byte_tokenizer();
  std::error_code error;
  if (!fs::is_directory(path, error)) return open_sentencepiece(path, option);
  const std::string model = (fs::path(path) / "tokenizer.model").string();
  TORCH_CHECK_VALUE(fs::is_regular_file(model, error), "--", option, " ", path,
                    ": this folder holds no tokenizer.model");
  return open_sentencepiece(model, option);
}

void train_sentencepiece(std::string_view text, int64_t vocab, const std::string& path) {
  // 256 byte pieces, and unk, bos and eos; and some to spare for the text's own characters.
  TORCH_CHECK_VALUE(vocab >= 260 && vocab <= 1'000'000, "--data.vocab is ", vocab,
                    ": a SentencePiece vocabulary holds 256 bytes and 3 special pieces besides its "
                    "own; give 260 to 1000000");
  Lines lines(text);
  std::string model;
  const auto status =
      sentencepiece::SentencePieceTrainer::Train({{"model_type", "bpe"},
                                                  {"vocab_size", std::to_string(vocab)},
                                                  {"byte_fallback", "true"},
                                                  {"character_coverage", "0.9999"},
                                                  {"normalization_rule_name", "identity"},
                                                  {"add_dummy_prefix", "false"},
                                                  {"remove_extra_whitespaces", "false"},
                                                  {"allow_whitespace_only_pieces", "true"},
                                                  {"hard_vocab_limit", "true"},
                                                  {"num_threads", "1"},
                                                  {"minloglevel", "2"}},
                                                 &lines, &model);
  TORCH_CHECK_VALUE(status.ok(), "--data.vocab ", vocab,
                    ": SentencePiece cannot make a vocabulary of this size from the text (",
                    status.ToString(), ")");
  const std::string temporary = path + ".tmp";
  std::ofstream file(temporary, std::ios::binary);
  file << model;
  file.close();
  std::error_code error;
  if (file) fs::rename(temporary, path, error);
  TORCH_CHECK(file && !error, "cannot write ", path, " (", model.size(), " bytes)");
}

}  // namespace temper
