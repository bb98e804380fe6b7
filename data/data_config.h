// The [data] section: where the tokens come from.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <cstdint>
#include <memory>
#include <string>

namespace temper {

class Corpus;

struct DataConfig {
  std::string source = "builtin";  ///< builtin, text or tokens
  std::string text;                ///< a UTF-8 or any other text file, for source = text
  std::string tokens;              ///< a token file, for source = tokens
  /// auto (the model's own, or bytes), bytes, sentencepiece (trained on the training part), a
  /// SentencePiece .model, a tokenizer.json, or a Hugging Face folder
  std::string tokenizer = "auto";
  int64_t vocab = 0;  ///< size to train (sentencepiece), of the token file, or of the built-in
                      ///< language; 0: the default
  uint64_t language_seed = 1;  ///< which built-in language; independent of run.seed
  bool aligned_rows = false;   ///< of a token file: a row is a document
  double fit_share = 0.05;     ///< of a text or token file, held out to fit the temperature on
  double test_share = 0.05;    ///< of a text or token file, held out to test on

  /// Declares `data.*` with the defaults above; parsing writes into this object, which must outlive
  /// the description.
  void add_options(boost::program_options::options_description& options);

  /// Refuses what cannot be right whatever the files hold. Throws c10::ValueError naming the
  /// option, the value, the remedy.
  void validate() const;

  /// Refuses files that are not there, and a tokenizer that cannot be read; what they hold is not
  /// looked at (for --dry-run). Throws likewise.
  void check_files() const;

  /// The vocabulary that these options lead to, as far as that is known without opening a file (for
  /// --dry-run).
  int64_t planned_vocab() const;
};

/// Opens the corpus. `run_dir` is where a tokenizer that has to be trained is written
/// (tokenizer.model); with `may_write` false it must be there already. Not collective: rank 0 calls
/// it first with may_write, then the others. Throws c10::ValueError naming the option or file, the
/// value and the remedy.
std::unique_ptr<Corpus> open_corpus(const DataConfig& config, const std::string& run_dir,
                                    bool may_write);

}  // namespace temper
