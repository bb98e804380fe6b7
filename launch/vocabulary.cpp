#include "launch/vocabulary.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/builtin_language.h"
#include "data/tokenizer.h"
#include "data/tokenizer_files.h"

namespace temper {

namespace {

// True where `rows` may well be `ids` with padding: up to a multiple of a power of two, or at most
// an eighth of the rows. More is another vocabulary.
bool looks_padded(int64_t ids, int64_t rows) {
  for (int64_t multiple = 8; multiple <= 1024; multiple *= 2) {
    if (rows == (ids + multiple - 1) / multiple * multiple) return true;
  }
  return rows - ids <= rows / 8;
}

std::string quoted(const std::string& token) {
  return nlohmann::json(token).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool same_path(const std::string& a, const std::string& b) {
  std::error_code ignored;
  return a == b || std::filesystem::equivalent(a, b, ignored);
}

}  // namespace

void choose_tokenizer(DataConfig& data, const std::string& folder) {
  if (data.tokenizer != "auto" || data.source != "text") return;
  data.tokenizer = !folder.empty() && has_tokenizer(folder) ? folder : "bytes";
}

std::string tokenizer_to_keep(const Corpus& corpus, const std::string& folder) {
  const std::string own = corpus.tokenizer_file();
  return own.empty() && !folder.empty() && has_tokenizer(folder) ? folder : own;
}

void check_same_tokenizer(const Corpus& corpus, const std::string& section,
                          const std::string& folder) {
  const std::string option = section.find('.') == std::string::npos ? section + ".path" : section;
  // The ids of the built-in language are no text: a model of one would be measured, and trained, on
  // what means something else to it.
  const bool is_text = dynamic_cast<const BuiltinLanguage*>(&corpus) == nullptr;
  TORCH_CHECK_VALUE(
      is_text || folder.empty() || !has_tokenizer(folder), "--data.source is builtin, but --",
      option, " ", folder,
      " has a tokenizer, to which the ids of the built-in language mean something else: give text "
      "(--data.source text --data.text FILE) or token ids (--data.source tokens --data.tokens FILE "
      "--data.vocab N); where the model was made of the built-in language, take the tokenizer's "
      "files out of its folder");
  const std::string ours = corpus.tokenizer_file();
  if (ours.empty() || folder.empty() || !has_tokenizer(folder) || same_path(ours, folder)) return;
  const std::unique_ptr<Tokenizer> data = open_tokenizer(ours, "data.tokenizer");
  const std::unique_ptr<Tokenizer> model = open_tokenizer(folder, option);
  const auto shorter = static_cast<int32_t>(std::min(data->vocab(), model->vocab()));
  int32_t id = 0;
  while (id < shorter && data->token(id) == model->token(id)) ++id;
  if (id == shorter && data->vocab() == model->vocab()) return;
  const auto spelt = [&](const Tokenizer& tokenizer) {
    return id < tokenizer.vocab() ? quoted(tokenizer.token(id)) : std::string("no token");
  };
  TORCH_CHECK_VALUE(false, "the ", section, "'s tokenizer (", folder, ") is not that of the data (",
                    ours, "): id ", id, " is ", spelt(*model), " there and ", spelt(*data),
                    " here; soft targets need one vocabulary: give --data.tokenizer ", folder,
                    ", or a model made with the data's tokenizer");
}

void check_ids(const Corpus& corpus, const std::string& section, const std::string& folder,
               int64_t rows) {
  const std::string tokenizer = corpus.tokenizer_file();
  const bool own = !folder.empty() && has_tokenizer(folder) && !tokenizer.empty();
  const std::string remedy = own ? "the model has no rows for tokens that were added to its "
                                   "tokenizer: where no text needs "
                                   "them, take those from id " +
                                       std::to_string(rows) +
                                       " on out of added_tokens.json and tokenizer_config.json "
                                       "(added_tokens_decoder) in " +
                                       folder
                                 : std::string("use the tokenizer that the model was made with");
  TORCH_CHECK_VALUE(corpus.vocab() <= rows, "the ", section, "'s vocabulary has ", rows,
                    " ids, the data ", corpus.vocab(), " (", corpus.describe(), "): ", remedy);
}

std::string fit_vocabulary(const Corpus& corpus, const std::string& section,
                           const std::string& folder, TransformerConfig& shape) {
  check_same_tokenizer(corpus, section, folder);
  const int64_t ids = corpus.vocab(), rows = shape.vocab;
  check_ids(corpus, section, folder, rows);
  if (ids == rows) return {};
  const bool known = !folder.empty() && has_tokenizer(folder) && !corpus.tokenizer_file().empty();
  TORCH_CHECK_VALUE(known || looks_padded(ids, rows), "the ", section, "'s vocabulary has ", rows,
                    " ids, the data only ", ids, " (", corpus.describe(),
                    "): that is no padding but another vocabulary; use the tokenizer that the "
                    "model was made with");
  for (const int64_t id : shape.eos_ids) {
    TORCH_CHECK_VALUE(
        id < ids, "the ", section, "'s end of text is the id ", id, ", but ", corpus.describe(),
        " has only ", ids,
        " ids: where the tokenizer's files were copied in part (added_tokens.json and "
        "tokenizer_config.json have the ids of added tokens), copy all of them; a token file "
        "needs --data.vocab ",
        rows);
  }
  shape = shape.with_vocab(ids);
  return "the " + section + " has " + std::to_string(rows) + " rows of vocabulary, the tokenizer " +
         std::to_string(ids) + " ids: rows " + std::to_string(ids) + " to " +
         std::to_string(rows - 1) + " stand for no token and are trimmed";
}

}  // namespace temper
