#include "data/data_config.h"

#include <c10/util/Exception.h>

#include <boost/program_options/value_semantic.hpp>
#include <filesystem>

#include "data/builtin_language.h"
#include "data/mapped_file.h"
#include "data/sentencepiece.h"
#include "data/text_corpus.h"
#include "data/token_file.h"
#include "data/utf8.h"

namespace temper {

namespace po = boost::program_options;

namespace {

constexpr int64_t kDefaultTrainedVocab = 1024;

std::unique_ptr<Tokenizer> open_named_tokenizer(const DataConfig& config) {
  std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(config.tokenizer, "data.tokenizer");
  TORCH_CHECK_VALUE(config.vocab == 0 || config.vocab == tokenizer->vocab(), "--data.vocab is ",
                    config.vocab, ", but --data.tokenizer ", config.tokenizer, " has ",
                    tokenizer->vocab(), " tokens; leave data.vocab out");
  return tokenizer;
}

void check_byte_vocab(int64_t vocab) {
  TORCH_CHECK_VALUE(vocab == 0 || vocab == 256, "--data.vocab is ", vocab,
                    ", but the text is read as bytes, of which there are 256: leave data.vocab "
                    "out, or add --data.tokenizer sentencepiece to train a vocabulary");
}

std::unique_ptr<Corpus> open_tokens(const DataConfig& config) {
  std::unique_ptr<TokenFile> file = TokenFile::open(config.tokens, config.vocab, config.fit_share,
                                                    config.test_share, config.aligned_rows);
  if (config.tokenizer == "auto") return file;
  // The vocabulary may be padded: more ids than the tokenizer makes.
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(config.tokenizer, "data.tokenizer");
  TORCH_CHECK_VALUE(tokenizer->vocab() <= config.vocab, "--data.vocab is ", config.vocab,
                    ", but --data.tokenizer ", config.tokenizer, " has ", tokenizer->vocab(),
                    " tokens: name the tokenizer that ", config.tokens, " was made with");
  file->made_with(config.tokenizer == "bytes" ? config.tokenizer : tokenizer->file());
  return file;
}

std::unique_ptr<Corpus> open_text(const DataConfig& config, const std::string& run_dir,
                                  bool may_write) {
  const MappedFile file(config.text, "data.text");
  const std::array<std::string_view, 3> parts =
      text_parts(file.bytes(), config.fit_share, config.test_share);
  const bool bytes = config.tokenizer == "bytes" || config.tokenizer == "auto";
  if (!bytes) {
    const size_t bad = find_invalid_utf8(file.bytes());
    TORCH_CHECK_VALUE(
        bad == std::string_view::npos, "--data.text ", config.text, ": byte ", bad,
        " is not UTF-8, which this tokenizer needs; convert the file (iconv), or give "
        "--data.tokenizer bytes");
  }
  std::unique_ptr<Tokenizer> tokenizer;
  std::string tokenizer_file;
  if (bytes) {
    check_byte_vocab(config.vocab);
    tokenizer_file = "bytes";
    tokenizer = make_byte_tokenizer();
  } else if (config.tokenizer == "sentencepiece") {
    tokenizer_file = run_dir + "/tokenizer.model";
    // On the training part alone: the held-out text must not shape the vocabulary.
    if (may_write) train_sentencepiece(parts[0], config.planned_vocab(), tokenizer_file);
    tokenizer = open_sentencepiece(tokenizer_file, "data.tokenizer");
  } else {
    tokenizer = open_named_tokenizer(config);
    tokenizer_file = tokenizer->file();
  }
  std::vector<int32_t> ids;
  std::array<int64_t, 3> part_tokens{};
  for (size_t part = 0; part < parts.size(); ++part) {
    const std::vector<int32_t> encoded = encode_text(*tokenizer, parts[part]);
    part_tokens[part] = static_cast<int64_t>(encoded.size());
    ids.insert(ids.end(), encoded.begin(), encoded.end());
  }
  return std::make_unique<TextCorpus>(config.text, std::move(ids), part_tokens, tokenizer->vocab(),
                                      tokenizer->describe(), tokenizer_file);
}

}  // namespace

void DataConfig::add_options(po::options_description& options) {
  auto add = options.add_options();
  add("data.source",
      po::value<std::string>(&source)->default_value(source)->value_name("builtin|text|tokens"),
      "the built-in synthetic language (no files needed), a text file, or a file of token ids");
  add("data.text", po::value<std::string>(&text)->default_value(text)->value_name("FILE"),
      "text file, for data.source = text");
  add("data.tokens", po::value<std::string>(&tokens)->default_value(tokens)->value_name("FILE"),
      "file of token ids, for data.source = tokens: NumPy .npy (one dimension), llm.c .bin, or "
      "Megatron .bin with its .idx");
  add("data.tokenizer",
      po::value<std::string>(&tokenizer)->default_value(tokenizer)->value_name("NAME|PATH"),
      "for data.source = text: auto (that of the teacher's or model's folder, if it has one, else "
      "bytes), bytes, sentencepiece (trained on the training part, kept in the run folder), a "
      "SentencePiece .model, a tokenizer.json of byte-level BPE, or a model's folder; for "
      "data.source = tokens: what the file was made with, compared with the teacher's and kept "
      "with the student (auto: nothing is known of it)");
  add("data.vocab", po::value<int64_t>(&vocab)->default_value(vocab)->value_name("N"),
      "vocabulary to train (sentencepiece, 0: 1024), that the token file was made with, or of the "
      "built-in language (0: 256)");
  add("data.language-seed",
      po::value<uint64_t>(&language_seed)->default_value(language_seed)->value_name("N"),
      "which built-in language; independent of run.seed");
  add("data.aligned-rows",
      po::value<bool>(&aligned_rows)->default_value(aligned_rows)->value_name("true|false"),
      "for data.source = tokens: each row is a document, for files whose documents all have "
      "train.seq tokens, as temper write makes them (false: an epoch's rows begin anywhere)");
  add("data.fit-share", po::value<double>(&fit_share)->default_value(fit_share)->value_name("X"),
      "share of a text or token file held out to fit the temperature on");
  add("data.test-share", po::value<double>(&test_share)->default_value(test_share)->value_name("X"),
      "share of a text or token file held out to test on (its end)");
}

void DataConfig::validate() const {
  TORCH_CHECK_VALUE(source == "builtin" || source == "text" || source == "tokens",
                    "--data.source is '", source, "': give builtin, text or tokens");
  TORCH_CHECK_VALUE(source != "text" || !text.empty(),
                    "--data.text is missing: --data.source text needs a text file");
  TORCH_CHECK_VALUE(text.empty() || source == "text", "--data.text is ", text,
                    ", but --data.source is ", source,
                    ": add --data.source text, or leave the text out");
  TORCH_CHECK_VALUE(tokens.empty() || source == "tokens", "--data.tokens is ", tokens,
                    ", but --data.source is ", source,
                    ": add --data.source tokens, or leave the token file out");
  TORCH_CHECK_VALUE(source != "tokens" || !tokens.empty(),
                    "--data.tokens is missing: --data.source tokens needs a file of token ids");
  TORCH_CHECK_VALUE(source != "tokens" || vocab > 0,
                    "--data.vocab is missing: a token file does not say how many ids its "
                    "vocabulary has; give the size it was made with");
  TORCH_CHECK_VALUE(!aligned_rows || source == "tokens",
                    "--data.aligned-rows is true, but --data.source is ", source,
                    ": only a token file has documents of one length; leave it out");
  TORCH_CHECK_VALUE(vocab >= 0 && vocab <= (int64_t{1} << 31), "--data.vocab is ", vocab,
                    ": give a vocabulary's size, or 0 for the default");
  TORCH_CHECK_VALUE(source != "builtin" || vocab == 0 || (vocab >= 16 && vocab <= 65536),
                    "--data.vocab is ", vocab, ": the built-in language has 16 to 65536 tokens");
  const bool cuts_nothing =
      source == "builtin" || (source == "tokens" && tokenizer == "sentencepiece");
  TORCH_CHECK_VALUE(tokenizer == "auto" || !cuts_nothing, "--data.tokenizer is ", tokenizer,
                    ", but --data.source is ", source,
                    ": there is no text to cut into tokens; leave the tokenizer out");
  TORCH_CHECK_VALUE(!tokenizer.empty(),
                    "--data.tokenizer is empty: give auto, bytes, sentencepiece, or a tokenizer's "
                    "file or folder");
  for (const auto& [option, share] :
       {std::pair{"data.fit-share", fit_share}, std::pair{"data.test-share", test_share}}) {
    TORCH_CHECK_VALUE(share > 0 && share < 0.5, "--", option, " is ", share,
                      ": give a share above 0 and below 0.5");
  }
}

void DataConfig::check_files() const {
  if (source == "text") {
    const MappedFile file(text, "data.text");
    const bool named = tokenizer != "auto" && tokenizer != "bytes" && tokenizer != "sentencepiece";
    if (named) open_named_tokenizer(*this);
  } else if (source == "tokens") {
    std::error_code ignored;  // Megatron's may be named without their ending
    if (!std::filesystem::is_regular_file(tokens + ".idx", ignored))
      MappedFile(tokens, "data.tokens");
  }
}

int64_t DataConfig::planned_vocab() const {
  if (source == "text" && (tokenizer == "bytes" || tokenizer == "auto")) {
    check_byte_vocab(vocab);
    return 256;
  }
  if (source == "tokens" || vocab > 0) return vocab;
  if (source == "builtin") return BuiltinLanguage::kDefaultVocab;
  return tokenizer == "sentencepiece" ? kDefaultTrainedVocab
                                      : open_tokenizer(tokenizer, "data.tokenizer")->vocab();
}

std::unique_ptr<Corpus> open_corpus(const DataConfig& config, const std::string& run_dir,
                                    bool may_write) {
  if (config.source == "text") return open_text(config, run_dir, may_write);
  if (config.source == "tokens") return open_tokens(config);
  return std::make_unique<BuiltinLanguage>(LanguageShape::for_vocab(config.planned_vocab()),
                                           config.language_seed);
}

}  // namespace temper
