// temper generate: goes on with one prompt, as it comes, or with many, in batches that are shared
// out over the ranks. Text goes to standard output, notes to standard error.
#include <ATen/ATen.h>

#include <boost/program_options/value_semantic.hpp>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "comm/agree.h"
#include "data/tokenizer.h"
#include "data/tokenizer_files.h"
#include "launch/command.h"
#include "launch/dry_run.h"
#include "launch/generate_config.h"
#include "launch/machine.h"
#include "launch/progress.h"
#include "launch/run_config.h"
#include "launch/text_stream.h"
#include "model/generation.h"
#include "model/hugging_face.h"

namespace temper {

namespace {

namespace po = boost::program_options;
using Json = nlohmann::ordered_json;

// Bytes that are no UTF-8 cannot stand in JSON.
std::string dumped(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

class GenerateCommand : public Command {
 public:
  std::string name() const override { return "generate"; }
  std::string summary() const override { return "text from a model: greedy, sampled or by beams"; }

  void add_options(po::options_description& options) override {
    run_.add_options(options, /*folder=*/false);
    auto add = options.add_options();
    add("run.seed", po::value<int64_t>(&run_.seed)->default_value(run_.seed)->value_name("N"),
        "seed of the draws, with --generate.sample true");
    add("model.path", po::value<std::string>(&path_)->default_value(path_)->value_name("DIR"),
        "Hugging Face folder of the model");
    generate_.add_options(options);
  }

  void validate() const override {
    run_.validate();
    TORCH_CHECK_VALUE(!path_.empty(),
                      "--model.path is missing: name the Hugging Face folder of the model");
    generate_.validate();
  }

  void check_models() const override { check_model_folder(path_, "model.path"); }
  bool prints_json() const override { return true; }

  void run(const Invocation& invocation) override {
    const Communicator& world = invocation.world;
    const Machine machine = set_up_machine(run_, world);
    agree(world, [&] { prepare(); });
    if (world.rank() == 0) {
      say("model   " + describe_model(shape_));
      say("decoding: " + decoding_.describe());
    }
    if (invocation.dry_run) {
      if (world.rank() == 0) print_plan(invocation.ini);
      return;
    }
    agree(world, [&] {
      LoadOptions options;
      options.device = machine.device;
      options.dtype = std::nullopt;
      decoder_ = std::make_unique<Decoder>(load_model(path_, options), run_.compute());
    });

    const auto start = std::chrono::steady_clock::now();
    Json mine = Json::array();
    agree(world, [&] { mine = my_share(world, invocation.json); });
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const int64_t tokens = world.all_reduce(new_tokens_);
    if (world.size() > 1 || invocation.json) {
      const std::vector<std::string> parts = world.all_gather(dumped(mine));
      if (world.rank() == 0) show_all(parts, invocation, tokens, seconds);
    }
    if (world.rank() == 0) {
      say(format("%lld tokens in %.2f s: %.1f tokens/s", static_cast<long long>(tokens), seconds,
                 static_cast<double>(tokens) / seconds));
    }
  }

 private:
  // All that can be refused before the weights are read.
  void prepare() {
    shape_ = read_model_config(path_);
    std::string file;
    const DecodingSettings stored = read_generation_config(path_, &file);
    decoding_ = resolve_decoding(generate_.given(), stored, file);
    tokenizer_ = open_own_tokenizer();
    if (!stored.eos_token_id && tokenizer_->end_of_document()) {
      decoding_.eos_token_id = {*tokenizer_->end_of_document()};
      decoding_.source["eos_token_id"] = "tokenizer";
    }
    texts_ = generate_.read_prompts();
    std::vector<int32_t> before = tokenizer_->prefix();
    if (!adds_bos_token(tokenizer_->file())) before.clear();
    for (const std::string& text : texts_) {
      const std::vector<int32_t> ids = tokenizer_->encode(text);
      TokenIds prompt(before.begin(), before.end());
      prompt.insert(prompt.end(), ids.begin(), ids.end());
      if (prompt.empty() && decoding_.bos_token_id) prompt.push_back(*decoding_.bos_token_id);
      TORCH_CHECK_VALUE(!prompt.empty(),
                        "--generate.prompt is empty, and the model has no beginning-of-text token "
                        "to start from: give some text");
      prompts_.push_back(std::move(prompt));
    }
  }

  std::unique_ptr<Tokenizer> open_own_tokenizer() const {
    if (!generate_.tokenizer.empty()) {
      return open_tokenizer(generate_.tokenizer, "generate.tokenizer");
    }
    const bool has_one = has_tokenizer(path_);
    if (!has_one && shape_.vocab == 256) return make_byte_tokenizer();
    TORCH_CHECK_VALUE(has_one, "--model.path ", path_,
                      ": this folder holds no tokenizer; name one with --generate.tokenizer");
    return open_tokenizer(path_, "model.path");
  }

  void print_plan(const std::string& ini) const {
    size_t longest = 0;
    for (const TokenIds& prompt : prompts_) longest = std::max(longest, prompt.size());
    const auto length = static_cast<int64_t>(longest);
    const int64_t columns = length + std::min(decoding_.new_tokens(length),
                                              std::max<int64_t>(shape_.positions - length, 0));
    const int64_t rows = std::min<int64_t>(generate_.batch, static_cast<int64_t>(prompts_.size())) *
                         std::max(decoding_.num_beams, decoding_.num_return_sequences);
    const int64_t width = c10::elementSize(run_.compute());
    const int64_t bytes =
        2 * shape_.layers * shape_.kv_heads * shape_.head_width * width * rows * columns;
    print(
        format("%s\n%zu prompts, the longest of %zu tokens; cache of keys and values: 2 x %lld "
               "layers x %lld heads x %lld x %lld bytes x %lld rows x %lld positions = %.1f MiB\n",
               ini.c_str(), prompts_.size(), longest, static_cast<long long>(shape_.layers),
               static_cast<long long>(shape_.kv_heads), static_cast<long long>(shape_.head_width),
               static_cast<long long>(width), static_cast<long long>(rows),
               static_cast<long long>(columns), static_cast<double>(bytes) / (1 << 20)));
  }

  // This rank's batches -> an array of {"index", "prompt", ..., "texts"}. Cut without regard to the
  // ranks, so that their number changes no batch.
  Json my_share(const Communicator& world, bool json) {
    Json all = Json::array();
    const auto size = static_cast<size_t>(generate_.batch);
    for (size_t first = 0, number = 0; first < prompts_.size(); first += size, ++number) {
      if (number % static_cast<size_t>(world.size()) != static_cast<size_t>(world.rank())) continue;
      const size_t last = std::min(first + size, prompts_.size());
      const bool live = prompts_.size() == 1 && decoding_.num_return_sequences == 1 && !json;
      for (Json& entry : decode(first, last, live)) {
        if (world.size() == 1 && !json && !live) print(block(entry));
        all.push_back(std::move(entry));
      }
    }
    return all;
  }

  // Prompts [first, last). `live`: the only text appears on the screen while it is made.
  std::vector<Json> decode(size_t first, size_t last, bool live) {
    const auto copies = static_cast<size_t>(decoding_.num_return_sequences);
    const PromptBatch batch = {{prompts_.begin() + static_cast<std::ptrdiff_t>(first),
                                prompts_.begin() + static_cast<std::ptrdiff_t>(last)},
                               first,
                               static_cast<uint64_t>(run_.seed)};
    std::vector<TextStream> streams;
    for (size_t text = 0; text < batch.prompts.size() * copies; ++text) {
      streams.emplace_back(*tokenizer_, batch.prompts[text / copies], decoding_.stop_strings);
    }
    const auto show = [&](const std::string& text) {
      if (live && !text.empty()) print(text);
    };
    const auto take = [&](size_t text, int64_t token) {
      const std::vector<int64_t>& ends = decoding_.eos_token_id;
      if (std::find(ends.begin(), ends.end(), token) != ends.end()) return false;
      show(streams[text].push(token));
      return streams[text].stopped();
    };
    const std::vector<Continuation> made = generate(*decoder_, batch, decoding_, take);

    std::vector<Json> entries;
    for (size_t text = 0; text < made.size(); ++text) {
      TextStream& stream = streams[text];
      if (decoding_.num_beams > 1) {  // beams are known at the end only
        for (const int64_t token : made[text].tokens) take(text, token);
      }
      show(stream.finish());
      const bool stopped = stream.stopped();
      new_tokens_ += static_cast<int64_t>(made[text].tokens.size());
      if (text % copies == 0) {
        Json entry;
        entry["index"] = first + text / copies;
        entry["prompt"] = texts_[first + text / copies];
        entry["prompt_tokens"] = batch.prompts[text / copies];
        entries.push_back(std::move(entry));
      }
      Json one;
      one["text"] = stream.text();
      one["tokens"] = made[text].tokens;
      one["finish"] = stopped ? finish_name(Finish::kStop) : finish_name(made[text].finish);
      if (decoding_.num_beams > 1) one["score"] = made[text].score;
      entries.back()["texts"].push_back(std::move(one));
    }
    if (live) print("\n");
    return entries;
  }

  // How a finished prompt looks among many.
  static std::string block(const Json& entry) {
    std::string result;
    const Json& texts = entry["texts"];
    for (size_t copy = 0; copy < texts.size(); ++copy) {
      const auto prompt = entry["prompt"].get<std::string>();
      result += "[" + std::to_string(entry["index"].get<size_t>() + 1) +
                (texts.size() > 1 ? "." + std::to_string(copy + 1) : "") + "] " + prompt +
                texts[copy]["text"].get<std::string>() + "\n";
    }
    return result;
  }

  void show_all(const std::vector<std::string>& parts, const Invocation& invocation, int64_t tokens,
                double seconds) const {
    std::vector<Json> results(prompts_.size());
    for (const std::string& part : parts) {
      for (Json& entry : Json::parse(part)) {
        const auto index = entry["index"].get<size_t>();
        results.at(index) = std::move(entry);
      }
    }
    if (!invocation.json) {
      const bool single = results.size() == 1 && decoding_.num_return_sequences == 1;
      if (single && invocation.world.size() > 1) return;  // rank 0 has shown it already
      for (const Json& entry : results) print(block(entry));
      return;
    }
    Json json;
    json["model"] = path_;
    json["tokenizer"] = tokenizer_->describe();
    json["precision"] = run_.precision;
    json["seed"] = run_.seed;
    json["decoding"] = decoding_.json();
    json["results"] = results;
    json["new_tokens"] = tokens;
    json["seconds"] = seconds;
    json["tokens_per_s"] = static_cast<double>(tokens) / seconds;
    print(dumped(json) + "\n");
  }

  RunConfig run_;
  GenerateConfig generate_;
  std::string path_;

  TransformerConfig shape_;
  Decoding decoding_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<std::string> texts_;
  std::vector<TokenIds> prompts_;
  std::unique_ptr<Decoder> decoder_;
  int64_t new_tokens_ = 0;
};

}  // namespace

std::unique_ptr<Command> make_generate_command() { return std::make_unique<GenerateCommand>(); }

}  // namespace temper
