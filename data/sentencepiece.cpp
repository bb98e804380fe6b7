#include "data/sentencepiece.h"

#include <c10/util/Exception.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <optional>

#include "data/added_token_files.h"
#include "data/mapped_file.h"
#include "data/sentencepiece_model.h"
#include "data/utf8.h"

namespace temper {

namespace fs = std::filesystem;

namespace {

// SentencePiece works line by line and takes no longer lines.
constexpr size_t kLongestLine = 4096;
constexpr size_t kPortion = 4096;

using sentencepiece::SentencePieceProcessor;

/// Where the files beside a model have a say in it.
struct BesideModel {
  bool tokens = false;             ///< there may be added tokens
  std::optional<bool> adds_space;  ///< before a text, whatever the model says
};

class SentencePiece : public PieceTokenizer {
 public:
  SentencePiece(const std::string& path, const std::string& option, std::string note,
                const BesideModel& beside)
      : path_(path), option_(option), note_(std::move(note)) {
    const MappedFile file(path, option);
    const Normalizer normalizer = read_normalizer(file.bytes(), "--" + option + " " + path);
    removes_spaces_ = normalizer.removes_spaces;
    const bool adds_space = beside.adds_space.value_or(normalizer.adds_space);
    load(file.bytes(),
         adds_space == normalizer.adds_space ? std::string()
                                             : spaces_of_model(adds_space, removes_spaces_),
         processor_);
    if (beside.tokens) {
      load(file.bytes(), spaces_of_model(false, removes_spaces_), after_token_.emplace());
      if (removes_spaces_)
        load(file.bytes(), spaces_of_model(false, false), keeps_spaces_.emplace());
    }
    find_cuts(normalizer);
  }
  int64_t vocab() const override { return processor_.GetPieceSize(); }
  std::vector<int32_t> encode(std::string_view text) const override {
    return encode_part(text, [this](std::string_view portion) { return pieces(portion); });
  }
  size_t next_cut(std::string_view text, size_t from) const override {
    if (!may_be_cut_) return text.size();
    for (size_t at = std::max<size_t>(from, 1); at < text.size(); ++at) {
      at = text.find('\n', at - 1);
      if (at == std::string_view::npos || ++at == text.size()) break;
      if (!follows_line_feed_[static_cast<unsigned char>(text[at])]) return at;
    }
    return text.size();
  }
  std::vector<int32_t> encode_rest(std::string_view text) const override {
    return encode_part(text, [this](std::string_view portion) { return rest(portion); });
  }
  std::vector<int32_t> encode_after_token(std::string_view text, bool spaced) const override {
    return encode_part(text, [this, spaced](std::string_view portion) {
      // Where the model removes spaces its own takes the place of the text's.
      const bool has_space = portion.starts_with(' ') || portion.starts_with("\xE2\x96\x81");
      const bool adds_space = has_space ? removes_spaces_ : spaced;
      return pieces(portion, adds_space ? processor_ : *after_token_);
    });
  }
  std::string decode(const std::vector<int32_t>& ids) const override {
    return decode(ids, processor_);
  }
  std::string decode_after_token(const std::vector<int32_t>& ids) const override {
    return decode(ids, keeps_spaces_ ? *keeps_spaces_ : *after_token_);
  }
  bool is_control(int32_t id) const override { return processor_.IsControl(id); }
  std::optional<int32_t> unknown() const override {
    return processor_.unk_id() < 0 ? std::nullopt : std::optional<int32_t>(processor_.unk_id());
  }
  std::string token(int32_t id) const override { return processor_.IdToPiece(id); }
  std::vector<int32_t> prefix() const override {
    return processor_.bos_id() < 0 ? std::vector<int32_t>{}
                                   : std::vector<int32_t>{processor_.bos_id()};
  }
  std::optional<int32_t> end_of_document() const override {
    return processor_.eos_id() < 0 ? std::nullopt : std::optional<int32_t>(processor_.eos_id());
  }
  std::string describe() const override {
    return "SentencePiece " + path_ + (note_.empty() ? "" : " (" + note_ + ")");
  }
  std::string file() const override { return path_; }

 private:
  void load(std::string_view model, const std::string& end, SentencePieceProcessor& processor) {
    std::string reason;
    try {
      const auto status = processor.LoadFromSerializedProto(std::string(model) + end);
      if (!status.ok()) reason = status.ToString();
    } catch (const std::exception& error) {  // pieces without text, for one
      reason = error.what();
    }
    TORCH_CHECK_VALUE(reason.empty(), "--", option_, " ", path_,
                      ": this is no SentencePiece model, or it is damaged (", reason, ")");
  }

  // In portions that end where a text may be cut: a unigram model adds up the scores of all that it
  // is given, in float32, and over a long text the sum is too coarse to tell two pieces apart
  // (SentencePiece 0.1.97 of Debian 12). `first` makes ids of the first portion.
  template <typename First>
  std::vector<int32_t> encode_part(std::string_view text, const First& first) const {
    std::vector<int32_t> all;
    for (size_t begin = 0; begin < text.size();) {
      const size_t left = text.size() - begin;
      const size_t size = left <= kPortion ? left : next_cut(text.substr(begin), kPortion);
      const std::string_view portion = text.substr(begin, size);
      const std::vector<int> ids = begin == 0 ? first(portion) : rest(portion);
      all.insert(all.end(), ids.begin(), ids.end());
      begin += size;
    }
    return all;
  }

  // Behind a line feed, so that the model puts no space of its own in between.
  std::vector<int> rest(std::string_view portion) const {
    std::vector<int> ids = pieces(std::string("\n").append(portion));
    ids.erase(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(line_feed_ids_));
    return ids;
  }

  std::vector<int> pieces(std::string_view text) const { return pieces(text, processor_); }

  std::vector<int> pieces(std::string_view text, const SentencePieceProcessor& processor) const {
    std::vector<int> ids;
    const auto status = processor.Encode({text.data(), text.size()}, &ids);
    check(status, "a text");
    return ids;
  }

  std::string decode(const std::vector<int32_t>& ids,
                     const SentencePieceProcessor& processor) const {
    std::string text;
    const auto status = processor.Decode(std::vector<int>(ids.begin(), ids.end()), &text);
    check(status, "ids");
    return text;
  }

  // A model that loads may still hold pieces that no text can be cut into.
  void check(const sentencepiece::util::Status& status, const char* what) const {
    TORCH_CHECK_VALUE(status.ok(), "--", option_, " ", path_,
                      ": this SentencePiece model cannot read ", what, " (", status.ToString(),
                      "): it is damaged; copy it again");
  }

  // A text may be cut after a line feed where no piece holds both it and what follows: pieces are
  // found inside the two halves then, whichever way the model ranks them. This holds where the
  // model leaves the characters and spaces as they are, and knows the line feed.
  void find_cuts(const Normalizer& normalizer) {
    const std::vector<int> line_feed = pieces("\n");
    line_feed_ids_ = line_feed.size();
    may_be_cut_ =
        !normalizer.changes_characters && !normalizer.removes_spaces && !line_feed.empty() &&
        std::find(line_feed.begin(), line_feed.end(), processor_.unk_id()) == line_feed.end();
    for (int id = 0; id < processor_.GetPieceSize(); ++id) {
      const std::string& piece = processor_.IdToPiece(id);
      for (size_t at = 1; at < piece.size(); ++at) {
        if (piece[at - 1] == '\n') follows_line_feed_[static_cast<unsigned char>(piece[at])] = true;
      }
    }
    // A space is spelt with U+2581.
    if (follows_line_feed_[0xE2]) follows_line_feed_[static_cast<unsigned char>(' ')] = true;
  }

  std::string path_;
  std::string option_;
  std::string note_;
  SentencePieceProcessor processor_;
  // The same model without a space before the text, and one that takes none away either. For added
  // tokens only.
  std::optional<SentencePieceProcessor> after_token_, keeps_spaces_;
  bool removes_spaces_ = false;
  bool may_be_cut_ = false;
  size_t line_feed_ids_ = 0;
  std::array<bool, 256> follows_line_feed_{};
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

void check_is_file(const std::string& path, const std::string& option) {
  std::error_code error;
  TORCH_CHECK_VALUE(
      fs::is_regular_file(path, error), "--", option, " ", path,
      ": no such file; give bytes, sentencepiece, a SentencePiece .model, a tokenizer.json, or the "
      "folder of a Hugging Face model");
}

}  // namespace

std::unique_ptr<Tokenizer> open_sentencepiece(const std::string& path, const std::string& option,
                                              const std::string& note) {
  check_is_file(path, option);
  BesideModel beside;
  AddedPieces added;
  std::unique_ptr<PieceTokenizer> model;
  try {
    beside.tokens = has_added_token_files(path);
    beside.adds_space = adds_space_before_text(path);
    model = std::make_unique<SentencePiece>(path, option, note, beside);
    if (!beside.tokens) return model;
    added = read_added_token_files(path, *model);
  } catch (const c10::ValueError& refusal) {
    const std::string reason = refusal.what_without_backtrace();
    TORCH_CHECK_VALUE(false, reason.starts_with("--") ? "" : "--" + option + " ", reason);
  }
  return with_added_pieces(std::move(model), std::move(added));
}

std::unique_ptr<PieceTokenizer> open_pieces(const std::string& path, const std::string& option) {
  check_is_file(path, option);
  return std::make_unique<SentencePiece>(path, option, std::string(), BesideModel());
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
