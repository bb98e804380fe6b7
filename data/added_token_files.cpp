#include "data/added_token_files.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "data/json_input.h"

namespace temper {

namespace fs = std::filesystem;

namespace {

using nlohmann::json;

constexpr int64_t kLargestList = 16 << 20;            // Llama 3's tokenizer_config.json is 50 KB
constexpr int64_t kLargestTokenizerJson = 128 << 20;  // as in tokenizer_json.cpp
constexpr const char* kConfigName = "tokenizer_config.json";
constexpr const char* kMapName = "special_tokens_map.json";
constexpr const char* kAddedName = "added_tokens.json";
constexpr const char* kCopyAgain =
    "; copy the tokenizer's files again from where the model is from";
// In the order in which transformers gives ids to those that have none.
constexpr std::array kTokenRoles = {"bos_token", "eos_token", "unk_token", "sep_token",
                                    "pad_token", "cls_token", "mask_token"};

std::string path_beside(const std::string& model, const char* name) {
  return (fs::path(model).parent_path() / name).string();
}

bool lies_there(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

std::string in_quotes(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

class AddedTokenReader {
 public:
  AddedTokenReader(const std::string& model, const PieceTokenizer& pieces)
      : config_path_(path_beside(model, kConfigName)),
        map_path_(path_beside(model, kMapName)),
        added_path_(path_beside(model, kAddedName)),
        json_path_(path_beside(model, "tokenizer.json")),
        pieces_(pieces) {
    if (lies_there(config_path_)) config_ = read_json_file(config_path_, kLargestList);
    const int64_t count = pieces.vocab();
    for (int64_t id = 0; id < count; ++id)
      id_of_piece_.emplace(pieces.token(static_cast<int32_t>(id)), id);
  }

  AddedPieces run() {
    const auto decoder = config_.find("added_tokens_decoder");
    const bool has_ids = decoder != config_.end() && !decoder->is_null();
    // Where the tokens have their ids in tokenizer_config.json, the other files do not count.
    if (!has_ids && lies_there(map_path_)) map_ = read_json_file(map_path_, kLargestList);
    read_names();
    if (has_ids) {
      read_decoder(*decoder);
    } else {
      if (lies_there(added_path_)) read_added(read_json_file(added_path_, kLargestList));
      if (lies_there(json_path_))
        read_json_tokens(read_json_file(json_path_, kLargestTokenizerJson));
    }
    check_gaps();
    give_ids();
    return finish();
  }

 private:
  /// A special token that a file speaks of, whether or not it has an id there.
  struct Named {
    AddedToken token;
    std::string path;
  };

  AddedToken token_of(const json& value, const std::string& what, const std::string& path,
                      bool special) const {
    AddedToken token;
    if (value.is_string()) {
      token.content = value.get<std::string>();
      token.special = special;
      return token;
    }
    TORCH_CHECK_VALUE(value.is_object(), path, ": ", what, " is ", in_quotes(value),
                      "; a string, or an object with its content is wanted", kCopyAgain);
    const JsonFields fields(value, path);
    token.content = fields.text("content");
    token.special = special || fields.boolean("special", false);
    token.lstrip = fields.boolean("lstrip", false);
    token.rstrip = fields.boolean("rstrip", false);
    token.single_word = fields.boolean("single_word", false);
    token.normalized = fields.boolean("normalized", !token.special);
    return token;
  }

  static bool names_token(const std::string& key, const json& value) {
    return key.ends_with("_token") && (value.is_string() || value.is_object());
  }

  // special_tokens_map.json counts before tokenizer_config.json.
  const json* field(const std::string& name, std::string& path) const {
    for (const auto& [object, file] : {std::pair{&map_, &map_path_}, {&config_, &config_path_}}) {
      const auto found = object->find(name);
      if (found == object->end()) continue;
      path = *file;
      return &*found;
    }
    return nullptr;
  }

  void name(const std::string& role) {
    std::string path;
    const json* value = field(role, path);
    if (value == nullptr || value->is_null()) return;
    named_.push_back({token_of(*value, role, path, /*special=*/true), path});
    role_[role] = named_.back().token.content;
  }

  void read_names() {
    for (const char* role : kTokenRoles) name(role);
    std::map<std::string, bool> others;  // <image>'s image_token and its like
    for (const json* object : {&map_, &config_}) {
      for (const auto& [key, value] : object->items()) {
        if (names_token(key, value) &&
            std::find(kTokenRoles.begin(), kTokenRoles.end(), key) == kTokenRoles.end())
          others.emplace(key, true);
      }
    }
    unordered_begin_ = named_.size();
    for (const auto& [role, ignored] : others) name(role);
    std::vector<Named> listed;
    for (const auto& [object, path] :
         {std::pair{&config_, &config_path_}, std::pair{&map_, &map_path_}})
      read_more(*object, *path, listed);
    unordered_end_ = named_.size();
    named_.insert(named_.end(), listed.begin(), listed.end());
  }

  // additional_special_tokens is the old name; transformers 5.23 does not heed it in
  // special_tokens_map.json.
  void read_more(const json& object, const std::string& path, std::vector<Named>& listed) {
    const auto extra = object.find("extra_special_tokens");
    const bool has_extra = extra != object.end() && !extra->empty();
    const auto old =
        &object == &map_ || has_extra ? object.end() : object.find("additional_special_tokens");
    const auto& found = old != object.end() ? old : extra;
    if (found == object.end()) return;
    if (found->is_object()) {
      for (const auto& [role, value] : found->items())
        named_.push_back({token_of(value, role, path, /*special=*/true), path});
      return;
    }
    has_list_ = true;
    if (found->is_null()) return;
    TORCH_CHECK_VALUE(found->is_array(), path, ": the list of special tokens is ",
                      in_quotes(*found), "; a list of strings is wanted", kCopyAgain);
    for (const json& each : *found)
      listed.push_back({token_of(each, "a special token", path, /*special=*/true), path});
  }

  void add(AddedToken token, int64_t id, const std::string& path) {
    if (token.content.empty()) return;
    const std::string what = ": the added token " + in_quotes(token.content);
    TORCH_CHECK_VALUE(id >= 0 && id <= INT32_MAX, path, what, " has the id ", id,
                      ", which cannot be right", kCopyAgain);
    const auto piece = id_of_piece_.find(token.content);
    TORCH_CHECK_VALUE(piece == id_of_piece_.end() || piece->second == id, path, what,
                      " has the id ", id, ", but in ", pieces_.file(), " it is ",
                      piece == id_of_piece_.end() ? 0 : piece->second, kCopyAgain);
    TORCH_CHECK_VALUE(
        id >= pieces_.vocab() || piece != id_of_piece_.end(), path, what, " has the id ", id,
        ", which in ", pieces_.file(), " is ",
        in_quotes(id < pieces_.vocab() ? pieces_.token(static_cast<int32_t>(id)) : ""), kCopyAgain);
    const auto [same_id, is_new] = content_of_id_.emplace(id, token.content);
    TORCH_CHECK_VALUE(same_id->second == token.content, path, ": the id ", id,
                      " stands for two tokens, ", in_quotes(same_id->second), " and ",
                      in_quotes(token.content), kCopyAgain);
    const auto [same_token, first] = place_.emplace(token.content, tokens_.size());
    token.id = static_cast<int32_t>(id);
    if (!first) {
      const int32_t other = tokens_[same_token->second].id;
      TORCH_CHECK_VALUE(other == token.id, path, what, " has two ids, ", other, " and ", id,
                        kCopyAgain);
      tokens_[same_token->second] = std::move(token);
      return;
    }
    tokens_.push_back(std::move(token));
    path_of_ids_ = path;
  }

  void read_decoder(const json& decoder) {
    TORCH_CHECK_VALUE(decoder.is_object(), config_path_, ": added_tokens_decoder is ",
                      in_quotes(decoder), "; an object of ids and tokens is wanted", kCopyAgain);
    for (const auto& [key, value] : decoder.items()) {
      int64_t id = -1;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      const bool whole = error == std::errc() && end == key.data() + key.size();
      TORCH_CHECK_VALUE(whole, config_path_, ": added_tokens_decoder has the id ", in_quotes(key),
                        "; a whole number is wanted", kCopyAgain);
      TORCH_CHECK_VALUE(value.is_object(), config_path_, ": the added token of the id ", id, " is ",
                        in_quotes(value), "; an object with its content is wanted", kCopyAgain);
      add(token_of(value, key, config_path_, /*special=*/false), id, config_path_);
    }
  }

  void read_added(const json& ids) {
    for (const auto& [content, id] : ids.items()) {
      AddedToken token;
      token.content = content;
      token.special = is_named(content);
      token.normalized = !token.special;
      add(std::move(token), id_of(id, content, added_path_), added_path_);
    }
  }

  // Where temper does not read the tokenizer.json itself.
  void read_json_tokens(const json& tokenizer) {
    const auto tokens = tokenizer.find("added_tokens");
    if (tokens == tokenizer.end() || !tokens->is_array()) return;
    for (const json& each : *tokens) {
      if (!each.is_object() || !each.contains("id")) continue;
      AddedToken token = token_of(each, "added_tokens", json_path_, /*special=*/false);
      const int64_t id = id_of(each["id"], token.content, json_path_);
      add(std::move(token), id, json_path_);
    }
  }

  int64_t id_of(const json& value, const std::string& content, const std::string& path) const {
    const json named = {{"id", value}};
    TORCH_CHECK_VALUE(value.is_number_integer(), path, ": the id of the added token ",
                      in_quotes(content), " is ", in_quotes(value), "; a whole number is wanted",
                      kCopyAgain);
    return JsonFields(named, path).integer("id");
  }

  bool is_named(const std::string& content) const {
    return std::any_of(named_.begin(), named_.end(),
                       [&](const Named& each) { return each.token.content == content; });
  }

  // transformers would number them anew.
  void check_gaps() {
    int64_t next = pieces_.vocab();
    for (const auto& [id, content] : content_of_id_) {
      if (id < pieces_.vocab()) continue;
      TORCH_CHECK_VALUE(id == next, path_of_ids_, ": the added token ", in_quotes(content),
                        " has the id ", id, ", but no token has the id ", next, ", with which ",
                        "those that are added to ", pieces_.file(),
                        " go on: add the tokens that are missing, or number them without gaps");
      ++next;
    }
  }

  // To tokens that are only named: that of the .model, or the next.
  void give_ids() {
    int64_t next = pieces_.vocab();
    if (!content_of_id_.empty()) next = std::max(next, content_of_id_.rbegin()->first + 1);
    std::string in_doubt;
    for (size_t i = 0; i < named_.size(); ++i) {
      const AddedToken& token = named_[i].token;
      if (const auto found = place_.find(token.content); found != place_.end()) {
        const bool has_role = i < unordered_end_;
        if (has_role) tokens_[found->second].special = true;
        continue;
      }
      const auto piece = id_of_piece_.find(token.content);
      if (piece == id_of_piece_.end() && i >= unordered_begin_ && i < unordered_end_) {
        TORCH_CHECK_VALUE(
            in_doubt.empty(), named_[i].path, ": the tokens ", in_doubt, " and ",
            in_quotes(token.content),
            " have no ids, and their order is not certain: ", "give them ids in added_tokens.json");
        in_doubt = in_quotes(token.content);
      }
      add(token, piece == id_of_piece_.end() ? next++ : piece->second, named_[i].path);
    }
  }

  // What no file says of the .model's own.
  void add_own(std::optional<int32_t> id) {
    if (!id || place_.contains(pieces_.token(*id))) return;
    AddedToken token;
    token.content = pieces_.token(*id);
    token.special = true;
    add(std::move(token), *id, pieces_.file());
  }

  std::optional<int32_t> role(const char* name, std::optional<int32_t> own) {
    std::string ignored;
    if (field(name, ignored) == nullptr) {
      add_own(own);
      return own;
    }
    const auto content = role_.find(name);
    if (content == role_.end()) return std::nullopt;  // it is null
    const auto found = place_.find(content->second);
    if (found == place_.end()) return std::nullopt;  // it is empty
    return tokens_[found->second].id;
  }

  AddedPieces finish() {
    AddedPieces added;
    const std::vector<int32_t> prefix = pieces_.prefix();
    added.beginning_of_text =
        role("bos_token", prefix.empty() ? std::nullopt : std::optional<int32_t>(prefix[0]));
    added.end_of_text = role("eos_token", pieces_.end_of_document());
    role("unk_token", pieces_.unknown());
    for (int64_t id = 0; id < pieces_.vocab() && !has_list_; ++id) {
      if (pieces_.is_control(static_cast<int32_t>(id))) add_own(static_cast<int32_t>(id));
    }
    const JsonFields config(config_, config_path_);
    added.space_after_tokens =
        config.boolean("legacy", false) && config.boolean("add_prefix_space", true);
    added.split_special_tokens = config.boolean("split_special_tokens", false);
    added.tokens = std::move(tokens_);
    return added;
  }

  const std::string config_path_, map_path_, added_path_, json_path_;
  const PieceTokenizer& pieces_;
  json config_ = json::object(), map_ = json::object();
  std::unordered_map<std::string, int64_t> id_of_piece_;
  std::vector<Named> named_;  // with roles; those from unordered_begin_ on: in no certain order;
  size_t unordered_begin_ = 0, unordered_end_ = 0;  // those from unordered_end_ on: of a list
  bool has_list_ = false;
  std::map<std::string, std::string> role_;  // the token that has it
  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string, size_t> place_;  // in tokens_
  std::map<int64_t, std::string> content_of_id_;
  std::string path_of_ids_;
};

}  // namespace

bool has_added_token_files(const std::string& model) {
  return lies_there(path_beside(model, kConfigName)) || lies_there(path_beside(model, kMapName)) ||
         lies_there(path_beside(model, kAddedName));
}

std::optional<bool> adds_space_before_text(const std::string& model) {
  const std::string path = path_beside(model, kConfigName);
  if (!lies_there(path)) return std::nullopt;
  const json config = read_json_file(path, kLargestList);
  const JsonFields fields(config, path);
  if (!fields.has("add_prefix_space")) return std::nullopt;
  return fields.boolean("add_prefix_space", true);
}

AddedPieces read_added_token_files(const std::string& model, const PieceTokenizer& pieces) {
  return AddedTokenReader(model, pieces).run();
}

}  // namespace temper
