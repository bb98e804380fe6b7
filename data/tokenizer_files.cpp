#include "data/tokenizer_files.h"

#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/byte_alphabet.h"
#include "data/json_input.h"
#include "data/mapped_file.h"
#include "data/sentencepiece.h"
#include "data/sentencepiece_model.h"

namespace temper {

namespace fs = std::filesystem;

namespace {

constexpr const char* kJson = "tokenizer.json";
constexpr const char* kSentencePiece = "tokenizer.model";
constexpr const char* kConfig = "tokenizer_config.json";
constexpr int64_t kMaxConfigBytes = int64_t{16} << 20;  // Llama 3's is 50 KB

constexpr std::array<const char*, 6> kCompanions = {kConfig,
                                                    "special_tokens_map.json",
                                                    "added_tokens.json",
                                                    "chat_template.jinja",
                                                    "vocab.json",
                                                    "merges.txt"};

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

std::string content(const fs::path& path) {
  const MappedFile file(path.string());
  return std::string(file.bytes());
}

// What transformers must be told of a model that comes alone, to read it as temper does: which
// pieces have roles, what becomes of spaces, and that <s>, spelt out in a text, is text.
std::string sentencepiece_config_json(const std::string& path) {
  const std::unique_ptr<PieceTokenizer> model = open_pieces(path, "data.tokenizer");
  const Normalizer normalizer = read_normalizer(MappedFile(path).bytes(), path);
  const std::vector<int32_t> prefix = model->prefix();
  const auto piece = [&](std::optional<int32_t> id) {
    return id ? nlohmann::ordered_json(model->token(*id)) : nlohmann::ordered_json();
  };
  nlohmann::ordered_json json;
  json["tokenizer_class"] = "LlamaTokenizer";
  json["add_bos_token"] = false;
  json["add_eos_token"] = false;
  json["add_prefix_space"] = normalizer.adds_space;
  json["legacy"] = false;
  json["split_special_tokens"] = true;
  json["clean_up_tokenization_spaces"] = false;
  json["unk_token"] = piece(model->unknown());
  json["bos_token"] = piece(prefix.empty() ? std::nullopt : std::optional<int32_t>(prefix[0]));
  json["eos_token"] = piece(model->end_of_document());
  return json.dump(2) + "\n";
}

std::string byte_config_json() {
  nlohmann::ordered_json json;
  json["tokenizer_class"] = "PreTrainedTokenizerFast";
  json["clean_up_tokenization_spaces"] = false;
  // Classes of some families would add tokens of their own.
  for (const char* token : {"unk_token", "bos_token", "eos_token", "pad_token"})
    json[token] = nullptr;
  return json.dump(2) + "\n";
}

}  // namespace

std::string byte_tokenizer_json() {
  nlohmann::ordered_json vocab;
  const ByteAlphabet alphabet;
  for (int byte = 0; byte < 256; ++byte)
    vocab[std::string(alphabet.spelling(static_cast<unsigned char>(byte)))] = byte;
  const nlohmann::ordered_json byte_level = {{"type", "ByteLevel"},
                                             {"add_prefix_space", false},
                                             {"trim_offsets", true},
                                             {"use_regex", false}};
  nlohmann::ordered_json json;
  json["version"] = "1.0";
  json["truncation"] = nullptr;
  json["padding"] = nullptr;
  json["added_tokens"] = nlohmann::ordered_json::array();
  json["normalizer"] = nullptr;
  json["pre_tokenizer"] = byte_level;
  json["post_processor"] = nullptr;
  json["decoder"] = byte_level;
  json["model"] = {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"ignore_merges", false},
                   {"vocab", vocab},
                   {"merges", nlohmann::ordered_json::array()}};
  return json.dump(1) + "\n";
}

bool adds_bos_token(const std::string& tokenizer_file) {
  const fs::path file(tokenizer_file);
  if (file.empty() || file.extension() == ".json") return true;
  const std::string path = (file.parent_path() / kConfig).string();
  if (!is_file(path)) return true;
  const nlohmann::json json = read_json_file(path, kMaxConfigBytes);
  return JsonFields(json, path).boolean("add_bos_token", true);
}

bool has_tokenizer(const std::string& dir) {
  return is_file(fs::path(dir) / kJson) || is_file(fs::path(dir) / kSentencePiece);
}

std::vector<TokenizerFile> tokenizer_files(const std::string& tokenizer) {
  if (tokenizer.empty()) return {};
  if (tokenizer == "bytes") {
    return {{kJson, byte_tokenizer_json()}, {kConfig, byte_config_json()}};
  }
  std::error_code ignored;
  std::vector<TokenizerFile> files;
  const fs::path path(tokenizer);
  const bool is_folder = fs::is_directory(path, ignored);
  if (is_folder) {
    for (const char* name : {kJson, kSentencePiece}) {
      if (is_file(path / name)) files.push_back({name, content(path / name)});
    }
  } else {
    const bool json = path.extension() == ".json";
    files.push_back({json ? kJson : kSentencePiece, content(path)});
    // A folder's .model stands for its tokenizer.json where temper does not read that one.
    if (path.filename() == kSentencePiece && is_file(path.parent_path() / kJson))
      files.push_back({kJson, content(path.parent_path() / kJson)});
  }
  const fs::path folder = is_folder ? path : path.parent_path();
  for (const char* name : kCompanions) {
    if (is_file(folder / name)) files.push_back({name, content(folder / name)});
  }
  const bool only_pieces = files.size() == 1 && files[0].name == kSentencePiece;
  if (only_pieces) {
    const fs::path model = is_folder ? path / kSentencePiece : path;
    files.push_back({kConfig, sentencepiece_config_json(model.string())});
  }
  return files;
}

}  // namespace temper
