#include "data/tokenizer_json.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "data/byte_alphabet.h"
#include "data/json_input.h"
#include "data/pattern_dialect.h"

namespace temper {

namespace fs = std::filesystem;

namespace {

using nlohmann::json;

constexpr int64_t kLargestFile = 128 << 20;  // the largest known has 33 MB
constexpr int64_t kLargestConfig = 16 << 20;
constexpr const char* kRemedy =
    "temper reads byte-level BPE (GPT-2, Llama 3, Qwen); name the tokenizer.model if the model "
    "has one";

std::string short_text(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

bool is_there(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && !found->is_null();
}

/// Token ids by the tokens' spelling, while the file is read.
using Ids = std::unordered_map<std::string_view, int32_t>;

class Reader {
 public:
  explicit Reader(const std::string& path)
      : path_(path), file_(read_json_file(path, kLargestFile)) {
    std::error_code ignored;
    // The shortest entry of a vocabulary takes six bytes ("a":0,), so that this leaves room for ids
    // that are not in use; the tables are as long as the largest id.
    largest_id_ =
        static_cast<int64_t>(std::min<uintmax_t>(fs::file_size(path, ignored) / 4, INT32_MAX));
  }

  ByteLevelBpe run() {
    bpe_.path = path_;
    known(file_, "the file",
          {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
           "post_processor", "decoder", "model"});
    const json& model = part("model");
    const JsonFields fields(model, path_);
    // Old files leave the type out.
    const std::string type = fields.text("type", model.contains("merges") ? "BPE" : "missing");
    check(type == "BPE", "model.type is " + type);
    known(model, "model",
          {"type", "vocab", "merges", "dropout", "unk_token", "continuing_subword_prefix",
           "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges"});
    check(!fields.boolean("byte_fallback", false), "model.byte_fallback is true");
    check(fields.number("dropout", 0) == 0,
          "model.dropout is " + std::to_string(fields.number("dropout", 0)));
    for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"})
      check(fields.text(name, "").empty(), std::string("model.") + name + " is not empty");
    bpe_.ignore_merges = fields.boolean("ignore_merges", false);
    if (is_there(file_, "normalizer")) read_normalizer(file_["normalizer"]);
    check(is_there(file_, "pre_tokenizer"), "pre_tokenizer is missing");
    read_pre_tokenizer(file_["pre_tokenizer"]);
    check(byte_level_, "pre_tokenizer holds no ByteLevel");
    if (is_there(file_, "decoder")) read_decoder(file_["decoder"]);
    read_vocab(fields.object("vocab"));
    if (is_there(model, "merges")) read_merges(model["merges"]);
    if (is_there(file_, "added_tokens")) read_added(file_["added_tokens"]);
    if (is_there(file_, "post_processor")) read_post_processor(file_["post_processor"]);
    for (const char* name : {"<|endoftext|>", "<|end_of_text|>"}) {
      const auto found = ids_.find(name);
      if (found != ids_.end() && !bpe_.end_of_document) bpe_.end_of_document = found->second;
    }
    if (!bpe_.end_of_document) read_end_of_document();
    return std::move(bpe_);
  }

 private:
  void check(bool good, const std::string& what) const {
    TORCH_CHECK_VALUE(good, path_, ": ", what, "; ", kRemedy);
  }

  /// Everything in `object` is one of `names`, or null.
  void known(const json& object, const std::string& where,
             std::initializer_list<std::string_view> names) const {
    check(object.is_object(), where + " is " + short_text(object));
    for (const auto& [name, value] : object.items()) {
      const bool found = std::find(names.begin(), names.end(), name) != names.end();
      check(found || value.is_null(),
            where + " holds the field " + short_text(name) + ", which temper does not know");
    }
  }

  const json& part(const char* name) const {
    check(is_there(file_, name) && file_[name].is_object(), std::string(name) + " is missing");
    return file_[name];
  }

  const json& list(const json& object, const char* name) const {
    const bool good = is_there(object, name) && object[name].is_array();
    check(good, std::string("a list ") + name + " is missing");
    return object[name];
  }

  std::string type_of(const json& object, const char* where) const {
    check(object.is_object(), std::string(where) + " is " + short_text(object));
    return JsonFields(object, path_).text("type");
  }

  int32_t id_of(const json& value, const std::string& what) const {
    const bool number = value.is_number_integer() && value >= 0 && value < largest_id_;
    check(number, "the id of " + what + " is " + short_text(value) +
                      ", which cannot be right in a file of this size");
    return value.get<int32_t>();
  }

  void read_normalizer(const json& part) {
    const std::string type = type_of(part, "normalizer");
    if (type == "Sequence") {
      known(part, "normalizer", {"type", "normalizers"});
      for (const json& each : list(part, "normalizers")) {
        check(type_of(each, "normalizer") != "Sequence", "normalizer nests sequences");
        read_normalizer(each);
      }
      return;
    }
    check(type == "NFC", "normalizer is " + type);
    known(part, "normalizer", {"type"});
    bpe_.compose = true;
  }

  void read_pre_tokenizer(const json& part) {
    const std::string type = type_of(part, "pre_tokenizer");
    const JsonFields fields(part, path_);
    check(!byte_level_, "pre_tokenizer has " + type + " after ByteLevel");
    if (type == "Sequence") {
      known(part, "pre_tokenizer", {"type", "pretokenizers"});
      for (const json& each : list(part, "pretokenizers")) {
        check(type_of(each, "pre_tokenizer") != "Sequence", "pre_tokenizer nests sequences");
        read_pre_tokenizer(each);
      }
    } else if (type == "ByteLevel") {
      known(part, "ByteLevel", {"type", "add_prefix_space", "trim_offsets", "use_regex"});
      byte_level_ = true;
      bpe_.add_prefix_space = fields.boolean("add_prefix_space", true);
      bpe_.gpt2_words = fields.boolean("use_regex", true);
    } else if (type == "Digits") {
      known(part, "Digits", {"type", "individual_digits"});
      bpe_.splits.push_back({fields.boolean("individual_digits", false) ? kDigit : kDigits});
    } else if (type == "Split") {
      read_split(part, fields);
    } else {
      check(false, "pre_tokenizer is " + type);
    }
  }

  void read_split(const json& part, const JsonFields& fields) {
    known(part, "Split", {"type", "pattern", "behavior", "invert"});
    const json& pattern = fields.object("pattern");
    known(pattern, "pattern", {"Regex", "String"});
    const JsonFields form(pattern, path_);
    check(form.has("Regex") != form.has("String"), "pattern is " + short_text(pattern));
    const std::string behavior = fields.text("behavior");
    const bool invert = fields.boolean("invert", false), removed = behavior == "Removed";
    check(removed || behavior == "Isolated", "the behavior of Split is " + behavior);
    bpe_.splits.push_back(
        {form.has("Regex") ? form.text("Regex") : quote_pattern(form.text("String")),
         removed && !invert, removed && invert});
    check(!bpe_.splits.back().pattern.empty(), "the pattern of Split is empty");
  }

  void read_decoder(const json& part) {
    const std::string type = type_of(part, "decoder");
    if (type == "Sequence") {
      for (const json& each : list(part, "decoders")) {
        check(type_of(each, "decoder") != "Sequence", "decoder nests sequences");
        read_decoder(each);
      }
      return;
    }
    check(type == "ByteLevel" || type == "Fuse", "decoder is " + type);
  }

  // Makes place for an id.
  void reach(int32_t id) {
    const auto size = static_cast<size_t>(id) + 1;
    if (bpe_.spelling.size() >= size) return;
    bpe_.spelling.resize(size);
    bpe_.bytes.resize(size);
  }

  void read_vocab(const json& vocab) {
    const ByteAlphabet alphabet;
    ids_.reserve(vocab.size());
    int64_t largest = -1;
    for (const auto& [token, value] : vocab.items())
      largest = std::max<int64_t>(largest, id_of(value, short_text(token)));
    if (largest >= 0) reach(static_cast<int32_t>(largest));
    for (auto entry = vocab.begin(); entry != vocab.end(); ++entry) {
      const std::string& token = entry.key();
      const auto id = entry->get<int32_t>();
      std::string& spelling = bpe_.spelling[static_cast<size_t>(id)];
      check(!token.empty(), "the vocabulary holds an empty token");
      check(spelling.empty(), "the id " + std::to_string(id) + " stands for two tokens");
      spelling = token;
      bpe_.bytes[static_cast<size_t>(id)] = alphabet.bytes(token).value_or(token);
      ids_.emplace(token, id);
    }
    for (int byte = 0; byte < 256; ++byte) {
      const auto value = static_cast<unsigned char>(byte);
      const auto found = ids_.find(alphabet.spelling(value));
      bpe_.byte_ids[value] = found == ids_.end() ? -1 : found->second;
      const bool in_utf8 = value < 0xC0 || (value >= 0xC2 && value <= 0xF4);
      check(found != ids_.end() || !in_utf8,
            "the vocabulary has no token for the byte " + std::to_string(byte) +
                ", so that not every text can be encoded (train with "
                "initial_alphabet=ByteLevel.alphabet())");
    }
  }

  int32_t token_of(std::string_view token, size_t rank) const {
    const auto found = ids_.find(token);
    check(found != ids_.end(), "merge " + std::to_string(rank) + " speaks of the token " +
                                   short_text(token) + ", which is not in the vocabulary");
    return found->second;
  }

  void read_merges(const json& merges) {
    check(merges.is_array(), "merges is no list");
    bpe_.merges.reserve(merges.size());
    std::string joined;
    for (const json& merge : merges) {
      const size_t rank = bpe_.merges.size();
      std::string_view left, right;
      if (merge.is_string()) {
        const std::string_view text = merge.get_ref<const std::string&>();
        const size_t space = text.find(' ');
        if (space != std::string_view::npos &&
            text.find(' ', space + 1) == std::string_view::npos) {
          left = text.substr(0, space);
          right = text.substr(space + 1);
        }
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                 merge[1].is_string()) {
        left = merge[0].get_ref<const std::string&>();
        right = merge[1].get_ref<const std::string&>();
      }
      check(!left.empty() && !right.empty(),
            "merge " + std::to_string(rank) + " is " + short_text(merge) + ", not two tokens");
      joined.assign(left).append(right);
      bpe_.merges.push_back({token_of(left, rank), token_of(right, rank), token_of(joined, rank)});
    }
  }

  void read_added(const json& tokens) {
    check(tokens.is_array(), "added_tokens is no list");
    for (const json& each : tokens) {
      known(each, "added_tokens",
            {"id", "content", "special", "lstrip", "rstrip", "single_word", "normalized"});
      const JsonFields fields(each, path_);
      AddedToken token;
      token.content = fields.text("content");
      check(each.contains("id"), "the added token " + short_text(token.content) + " has no id");
      token.id = id_of(each["id"], short_text(token.content));
      token.special = fields.boolean("special", false);
      token.lstrip = fields.boolean("lstrip", false);
      token.rstrip = fields.boolean("rstrip", false);
      token.single_word = fields.boolean("single_word", false);
      token.normalized = fields.boolean("normalized", !token.special);
      if (token.content.empty()) continue;  // `tokenizers` passes it over, too
      reach(token.id);
      std::string& spelling = bpe_.spelling[static_cast<size_t>(token.id)];
      const auto found = ids_.find(token.content);
      const bool fits = found == ids_.end() ? spelling.empty() : found->second == token.id;
      check(fits, "the added token " + short_text(token.content) + " has the id " +
                      std::to_string(token.id) + ", which the vocabulary gives to another");
      spelling = bpe_.bytes[static_cast<size_t>(token.id)] = token.content;
      bpe_.added.push_back(std::move(token));
      ids_.emplace(each["content"].get_ref<const std::string&>(), bpe_.added.back().id);
    }
  }

  void read_post_processor(const json& part) {
    const std::string type = type_of(part, "post_processor");
    if (type == "Sequence") {
      for (const json& each : list(part, "processors")) {
        check(type_of(each, "post_processor") != "Sequence", "post_processor nests sequences");
        read_post_processor(each);
      }
      return;
    }
    if (type == "ByteLevel") return;  // moves offsets, which temper has none of
    check(type == "TemplateProcessing", "post_processor is " + type);
    const JsonFields fields(part, path_);
    const json& special =
        is_there(part, "special_tokens") ? fields.object("special_tokens") : json::object();
    for (const json& step : list(part, "single")) {
      check(step.is_object() && step.size() == 1, "a step of the template is " + short_text(step));
      if (step.contains("Sequence")) return;  // what follows the text is not a prefix
      check(step.contains("SpecialToken"), "a step of the template is " + short_text(step));
      const std::string name = JsonFields(step["SpecialToken"], path_).text("id");
      check(special.contains(name) && special[name].is_object(),
            "the template's token " + short_text(name) + " is not among its special_tokens");
      for (const json& id : list(special[name], "ids")) {
        bpe_.prefix.push_back(id_of(id, short_text(name)));
        check(static_cast<size_t>(bpe_.prefix.back()) < bpe_.spelling.size(),
              "the template's token " + short_text(name) + " has an id outside the vocabulary");
      }
    }
  }

  void read_end_of_document() {
    for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
      const std::string beside = (fs::path(path_).parent_path() / name).string();
      std::error_code ignored;
      if (!fs::is_regular_file(beside, ignored)) continue;
      const json config = read_json_file(beside, kLargestConfig);
      if (!is_there(config, "eos_token")) continue;
      // A string, or an object with all that an added token has.
      const json& eos = config["eos_token"];
      const std::string token = eos.is_object() ? JsonFields(eos, beside).text("content")
                                                : JsonFields(config, beside).text("eos_token");
      const auto found = ids_.find(token);
      if (found != ids_.end()) bpe_.end_of_document = found->second;
      if (bpe_.end_of_document) return;
    }
  }

  const std::string& path_;
  const json file_;
  int64_t largest_id_ = 0;
  bool byte_level_ = false;
  Ids ids_;  // views into file_
  ByteLevelBpe bpe_;
};

}  // namespace

ByteLevelBpe read_tokenizer_json(const std::string& path) { return Reader(path).run(); }

std::unique_ptr<Tokenizer> open_tokenizer_json(const std::string& path, const std::string& option) {
  std::error_code error;
  TORCH_CHECK_VALUE(fs::is_regular_file(path, error), "--", option, " ", path,
                    ": no such file; give bytes, a SentencePiece .model, a tokenizer.json, or the "
                    "folder of a Hugging Face model");
  try {
    return make_byte_level_tokenizer(read_tokenizer_json(path));
  } catch (const c10::ValueError& refusal) {
    TORCH_CHECK_VALUE(false, "--", option, " ", refusal.what_without_backtrace());
  }
}

}  // namespace temper
