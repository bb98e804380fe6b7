// temper write: a model goes on from the beginnings of a corpus's rows, and what it writes becomes
// a token file. With a teacher this is sequence-level distillation (Kim and Rush 2016, arXiv
// 1606.07947): the student is trained on the teacher's text by temper train.
#include <ATen/ATen.h>

#include <boost/program_options/value_semantic.hpp>
#include <cmath>
#include <span>

#include "comm/agree.h"
#include "comm/placement.h"
#include "data/token_writer.h"
#include "launch/command.h"
#include "launch/dry_run.h"
#include "launch/progress.h"
#include "launch/setup.h"
#include "launch/vocabulary.h"
#include "model/generation.h"
#include "model/hugging_face.h"
#include "model/model_config.h"
#include "student/free_running.h"

namespace temper {

namespace {

namespace po = boost::program_options;

class WriteCommand : public Command {
 public:
  std::string name() const override { return "write"; }
  std::string summary() const override {
    return "let a model go on from a corpus's rows, into a token file";
  }

  void add_options(po::options_description& options) override {
    run_.add_options(options, /*folder=*/false);
    options.add_options()("run.seed",
                          po::value<int64_t>(&run_.seed)->default_value(run_.seed)->value_name("N"),
                          "seed of the order of the rows, and of what is drawn");
    data_.add_options(options);
    model_.add_path(options);
    const auto count = [](int64_t* member) {
      return po::value<int64_t>(member)->default_value(*member)->value_name("N");
    };
    auto add = options.add_options();
    add("train.seq", count(&seq_), "tokens per row, prompt included");
    add("write.rows", count(&rows_), "rows to write, from the training part, in a shuffled order");
    add("write.prompt", count(&prompt_),
        "tokens at the beginning of each row that stay the corpus's (0: a quarter of train.seq)");
    add("write.temperature",
        po::value<double>(&temperature_)->default_value(temperature_)->value_name("T"),
        "temperature at which it writes (0: the likeliest token each time)");
    add("write.beams", count(&beams_),
        "beams; more than 1 searches for the likeliest text, and needs write.temperature 0");
    add("write.batch", count(&batch_), "rows that a rank writes at once");
    add("write.output",
        po::value<std::string>(&output_)->default_value(output_)->value_name("FILE"),
        "token file to write; for megatron FILE.bin and FILE.idx");
    add("write.format",
        po::value<std::string>(&format_)->default_value(format_)->value_name("npy|llm.c|megatron"),
        "as tokenize.format; each row is a document");
  }

  void validate() const override {
    run_.validate();
    data_.validate();
    TORCH_CHECK_VALUE(
        !model_.path.empty(),
        "--model.path is missing: name the Hugging Face folder of the model to write");
    TORCH_CHECK_VALUE(!output_.empty(), "--write.output is missing: name the token file to write");
    token_format(format_, "write.format");
    TORCH_CHECK_VALUE(seq_ >= 2, "--train.seq is ", seq_, ": give a whole number of at least 2");
    TORCH_CHECK_VALUE(rows_ >= 1, "--write.rows is ", rows_, ": give a number of at least 1");
    TORCH_CHECK_VALUE(batch_ >= 1, "--write.batch is ", batch_, ": give a number of at least 1");
    TORCH_CHECK_VALUE(prompt_ >= 0 && prompt_ < seq_, "--write.prompt is ", prompt_,
                      ": give 1 to train.seq - 1 = ", seq_ - 1, ", or 0 for a quarter");
    TORCH_CHECK_VALUE(std::isfinite(temperature_) && temperature_ >= 0, "--write.temperature is ",
                      temperature_, ": give a finite number of at least 0");
    TORCH_CHECK_VALUE(beams_ >= 1, "--write.beams is ", beams_, ": give a number of at least 1");
    TORCH_CHECK_VALUE(beams_ == 1 || temperature_ == 0, "--write.beams is ", beams_,
                      " with --write.temperature ", temperature_,
                      ": a search does not draw; give --write.temperature 0");
  }

  void check_models() const override { model_.check_path(); }

  void run(const Invocation& invocation) override {
    const Communicator& world = invocation.world;
    const Machine machine = set_up_machine(run_, world);
    if (invocation.dry_run) {
      agree(world, [&] {
        check_positions(read_model_config(model_.path), "model", seq_);
        data_.check_files();
        check_output(world);
        if (world.rank() == 0) std::printf("%s\n", invocation.ini.c_str());
      });
      return;
    }
    agree(world, [&] { check_output(world); });
    choose_tokenizer(data_, model_.path);
    const std::unique_ptr<Corpus> corpus = open_corpus_everywhere(data_, model_.path, world);
    std::optional<Transformer> model;
    std::optional<TokenWriter> file;
    agree(world, [&] {
      check_fit(read_model_config(model_.path), "model", model_.path, *corpus, seq_);
      LoadOptions load;
      load.device = machine.device;
      load.dtype = std::nullopt;
      model.emplace(load_model(model_.path, load));
      if (world.rank() == 0)
        file.emplace(output_, token_format(format_, "write.format"), corpus->vocab());
    });
    if (world.rank() == 0) {
      say("data    " + corpus->describe());
      say("model   " + describe_model(model->config()));
    }
    write(world, *model, *corpus, file);
  }

 private:
  /// Of rank 0, which writes.
  void check_output(const Communicator& world) const {
    if (world.rank() == 0)
      check_no_token_file(output_, token_format(format_, "write.format"), "write.output");
  }

  void write(const Communicator& world, const Transformer& model, const Corpus& corpus,
             std::optional<TokenWriter>& file) const {
    Decoding decoding;
    decoding.do_sample = temperature_ > 0;
    if (temperature_ > 0) decoding.temperature = temperature_;
    decoding.top_k = 0;
    decoding.num_beams = beams_;
    FreeRunningConfig config;
    config.prompt = prompt_;
    const Decoder decoder(model, run_.compute());
    const auto seed = static_cast<uint64_t>(run_.seed);
    const int64_t together = batch_ * world.size();
    for (int64_t begin = 0; begin < rows_; begin += together) {
      const RowRange own = share(std::min(together, rows_ - begin), world.rank(), world.size());
      at::Tensor tokens = at::empty({0}, at::kLong);
      if (own.size() > 0) {
        const Batch given = corpus.read(Part::kTrain, seed, begin + own.begin, own.size(), seq_);
        tokens = write_rows(decoder, decoding, config.prompt_tokens(seq_), given,
                            {.seed = seed, .first_row = begin + own.begin, .vocab = corpus.vocab()})
                     .tokens.reshape(-1);  // (B·S)
      }
      const at::Tensor all = world.all_gather(tokens).to(at::kInt).contiguous();  // rows in order
      agree(world, [&] {
        if (!file) return;
        const auto* ids = all.const_data_ptr<int32_t>();
        for (int64_t row = 0; row < all.numel() / seq_; ++row) {
          file->write(std::span<const int32_t>(ids + row * seq_, static_cast<size_t>(seq_)));
          file->end_document();
        }
      });
    }
    agree(world, [&] {
      if (!file) return;
      file->commit();
      std::printf("%s: %lld rows, %lld tokens (%s)\n", file->path().c_str(),
                  static_cast<long long>(rows_), static_cast<long long>(file->tokens()),
                  file->describe().c_str());
    });
  }

  RunConfig run_;
  DataConfig data_;
  ModelConfig model_{"model"};
  int64_t seq_ = 128;
  int64_t rows_ = 1000;
  int64_t prompt_ = 0;
  double temperature_ = 1;
  int64_t beams_ = 1;
  int64_t batch_ = 32;
  std::string output_;
  std::string format_ = "npy";
};

}  // namespace

std::unique_ptr<Command> make_write_command() { return std::make_unique<WriteCommand>(); }

}  // namespace temper
