// temper tokenize: text and JSONL files to a file of token ids, on the threads of one rank. Under
// mpirun rank 0 works and the others wait: the disk and the cores of one node are what there is to
// use.
#include <c10/util/Exception.h>
#include <glob.h>

#include <algorithm>
#include <boost/program_options/value_semantic.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "comm/agree.h"
#include "data/tokenize_files.h"
#include "launch/command.h"
#include "launch/options.h"
#include "launch/progress.h"

namespace temper {

namespace {

namespace po = boost::program_options;
namespace fs = std::filesystem;

bool has_ending(const std::string& path, const std::string& ending) {
  return path.size() > ending.size() && path.ends_with(ending);
}

/// The files that a comma list of names and patterns stands for, patterns in the order of names.
std::vector<std::string> files_of(const std::string& list) {
  std::vector<std::string> files;
  for (size_t at = 0; at <= list.size();) {
    const size_t end = std::min(list.find(',', at), list.size());
    const std::string item = list.substr(at, end - at);
    at = end + 1;
    TORCH_CHECK_VALUE(!item.empty(), "--tokenize.input is '", list,
                      "': give files with a comma between two of them");
    std::error_code error;
    if (fs::exists(item, error) || item.find_first_of("*?[") == std::string::npos) {
      files.push_back(item);
      continue;
    }
    glob_t found{};
    const int result = glob(item.c_str(), 0, nullptr, &found);
    for (size_t i = 0; result == 0 && i < found.gl_pathc; ++i) files.push_back(found.gl_pathv[i]);
    globfree(&found);
    TORCH_CHECK_VALUE(result == 0, "--tokenize.input ", item, ": no file has such a name");
  }
  return files;
}

class TokenizeCommand : public Command {
 public:
  std::string name() const override { return "tokenize"; }
  std::string summary() const override { return "turn text or JSONL files into a token file"; }

  void add_options(po::options_description& options) override {
    auto add = options.add_options();
    add("tokenize.input",
        po::value<std::string>(&input_)->default_value(input_)->value_name("FILE[,FILE...]"),
        "text or JSONL files, or patterns of names ('data/*.jsonl')");
    add("tokenize.output",
        po::value<std::string>(&output_)->default_value(output_)->value_name("FILE"),
        "token file to write; for megatron FILE.bin and FILE.idx");
    add("tokenize.format",
        po::value<std::string>(&format_)->default_value(format_)->value_name("npy|llm.c|megatron"),
        "NumPy (any size), llm.c's .bin, or Megatron's .bin and .idx, which keeps where documents "
        "end; two bytes an id where the vocabulary allows it, else four");
    add("tokenize.kind",
        po::value<std::string>(&kind_)->default_value(kind_)->value_name("auto|text|jsonl"),
        "what the input is; auto: jsonl where the name ends with .jsonl or .ndjson, else text");
    add("tokenize.field",
        po::value<std::string>(&field_)->default_value(field_)->value_name("NAME"),
        "field of each JSONL object that holds the document");
    add("tokenize.separator",
        po::value<std::string>(&separator_)->default_value(separator_)->value_name("TEXT"),
        "what stands between the documents of a text file, with \\n, \\t and \\r; left out of "
        "them (empty: each file is one document)");
    add("tokenize.append-eod",
        po::value<std::string>(&append_eod_)
            ->default_value(append_eod_)
            ->value_name("auto|true|false"),
        "put the tokenizer's end-of-document token after each document; auto: where it has one");
    add("tokenize.invalid-utf8",
        po::value<std::string>(&invalid_)->default_value(invalid_)->value_name("refuse|replace"),
        "what to do with bytes that are no UTF-8: stop, or put U+FFFD in their place");
    add("data.tokenizer",
        po::value<std::string>(&tokenizer_)->default_value(tokenizer_)->value_name("NAME|FILE"),
        "bytes, a SentencePiece .model, a tokenizer.json of byte-level BPE, or the folder of a "
        "Hugging Face model");
    add("run.threads", po::value<int64_t>(&threads_)->default_value(threads_)->value_name("N"),
        "threads (0: all cores that this process may use)");
  }

  void validate() const override {
    TORCH_CHECK_VALUE(!input_.empty(), "--tokenize.input is missing: name the files to tokenize");
    TORCH_CHECK_VALUE(!output_.empty(),
                      "--tokenize.output is missing: name the token file to write");
    token_format(format_, "tokenize.format");
    TORCH_CHECK_VALUE(kind_ == "auto" || kind_ == "text" || kind_ == "jsonl",
                      "--tokenize.kind is '", kind_, "': give auto, text or jsonl");
    TORCH_CHECK_VALUE(!field_.empty(), "--tokenize.field is empty: name a field (text)");
    TORCH_CHECK_VALUE(append_eod_ == "auto" || append_eod_ == "true" || append_eod_ == "false",
                      "--tokenize.append-eod is '", append_eod_, "': give auto, true or false");
    TORCH_CHECK_VALUE(invalid_ == "refuse" || invalid_ == "replace", "--tokenize.invalid-utf8 is '",
                      invalid_, "': give refuse or replace");
    TORCH_CHECK_VALUE(!tokenizer_.empty() && tokenizer_ != "sentencepiece", "--data.tokenizer is '",
                      tokenizer_,
                      "': name one that exists (bytes, a .model, a tokenizer.json, a folder)");
    TORCH_CHECK_VALUE(threads_ >= 0 && threads_ <= 4096, "--run.threads is ", threads_,
                      ": give 0 (automatic) to 4096");
    unescaped(separator_, "tokenize.separator");
  }

  void run(const Invocation& invocation) override {
    agree(invocation.world, [&] {
      if (invocation.world.rank() == 0) work(invocation);
    });
  }

 private:
  TokenizeJob make_job(const Tokenizer& tokenizer) const {
    TokenizeJob job;
    for (const std::string& file : files_of(input_)) {
      std::error_code error;
      TORCH_CHECK_VALUE(fs::is_regular_file(file, error), "--tokenize.input ", file,
                        ": no such file (a folder's files are named by a pattern: 'FOLDER/*.txt')");
      const bool jsonl =
          kind_ == "jsonl" ||
          (kind_ == "auto" && (has_ending(file, ".jsonl") || has_ending(file, ".ndjson")));
      job.sources.push_back({file, jsonl, field_, unescaped(separator_, "tokenize.separator")});
      for (const char* ending : {"", ".bin", ".idx"})
        TORCH_CHECK_VALUE(!fs::equivalent(file, output_ + ending, error), "--tokenize.output ",
                          output_, ": this is the input ", file, "; name another file");
    }
    check_no_token_file(output_, token_format(format_, "tokenize.format"), "tokenize.output");
    job.option = "tokenize.input";
    job.end_of_document = append_eod_ == "false" ? std::nullopt : tokenizer.end_of_document();
    TORCH_CHECK_VALUE(append_eod_ != "true" || job.end_of_document,
                      "--tokenize.append-eod is true, "
                      "but ",
                      tokenizer.describe(),
                      " names no token that ends a document; give auto "
                      "or false");
    job.replace_invalid = invalid_ == "replace";
    job.any_bytes = tokenizer_ == "bytes";
    job.threads = threads_ > 0 ? static_cast<int>(threads_)
                               : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    return job;
  }

  void work(const Invocation& invocation) const {
    const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(tokenizer_, "data.tokenizer");
    const TokenizeJob job = make_job(*tokenizer);
    int64_t file_bytes = 0;
    for (const DocumentSource& source : job.sources)
      file_bytes += static_cast<int64_t>(fs::file_size(source.path));
    if (invocation.dry_run) std::printf("%s\n", invocation.ini.c_str());
    say(format("input     %zu files, %sB", job.sources.size(),
               count_text(static_cast<double>(file_bytes)).c_str()));
    say(format("tokenizer %s, vocabulary %lld", tokenizer->describe().c_str(),
               static_cast<long long>(tokenizer->vocab())));
    say("documents " + (job.end_of_document
                            ? "each ends with " + std::to_string(*job.end_of_document) + " (" +
                                  tokenizer->token(*job.end_of_document) + ")"
                            : "no token between them"));
    say(format("threads   %d", job.threads));
    if (invocation.dry_run) return;
    TokenWriter writer(output_, token_format(format_, "tokenize.format"), tokenizer->vocab());
    const auto start = std::chrono::steady_clock::now();
    const TokenizeCounts counts = encode(job, *tokenizer, file_bytes, writer);
    writer.commit();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    print_summary(*tokenizer, writer, counts, seconds);
  }

  TokenizeCounts encode(const TokenizeJob& job, const Tokenizer& tokenizer, int64_t file_bytes,
                        TokenWriter& writer) const {
    const auto start = std::chrono::steady_clock::now();
    double last_line = 0;
    Progress bar("tokenize KiB", std::max<int64_t>(file_bytes >> 10, 1));
    return tokenize_files(job, tokenizer, writer, [&](int64_t done) {
      const double seconds =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      const bool line = seconds - last_line >= kLineSeconds;
      if (line) last_line = seconds;
      bar.show(
          std::max<int64_t>(done >> 10, 1),
          count_text(static_cast<double>(writer.tokens()) / std::max(seconds, 1e-3)) + " tokens/s",
          line);
    });
  }

  void print_summary(const Tokenizer& tokenizer, const TokenWriter& writer,
                     const TokenizeCounts& counts, double seconds) const {
    if (counts.empty > 0)
      say(format("note: %lld documents without text were left out",
                 static_cast<long long>(counts.empty)));
    if (counts.replaced > 0)
      say(format("note: bytes that are no UTF-8 were replaced by U+FFFD in %lld places",
                 static_cast<long long>(counts.replaced)));
    const auto tokens = static_cast<double>(writer.tokens());
    std::printf(
        "%lld documents, %lld tokens, %.3f bytes per token; %s tokens/s, %sB/s of text, %s\n"
        "%s: %s\n"
        "train on it with --data.source tokens --data.tokens %s --data.vocab %lld\n",
        static_cast<long long>(writer.documents()), static_cast<long long>(writer.tokens()),
        static_cast<double>(counts.text_bytes) / tokens,
        count_text(tokens / std::max(seconds, 1e-3)).c_str(),
        count_text(static_cast<double>(counts.text_bytes) / std::max(seconds, 1e-3)).c_str(),
        duration_text(seconds).c_str(), writer.path().c_str(), writer.describe().c_str(),
        writer.path().c_str(), static_cast<long long>(tokenizer.vocab()));
  }

  std::string input_;
  std::string output_;
  std::string format_ = "npy";
  std::string kind_ = "auto";
  std::string field_ = "text";
  std::string separator_;
  std::string append_eod_ = "auto";
  std::string invalid_ = "refuse";
  std::string tokenizer_ = "bytes";
  int64_t threads_ = 0;
};

}  // namespace

std::unique_ptr<Command> make_tokenize_command() { return std::make_unique<TokenizeCommand>(); }

}  // namespace temper
