// temper evaluate and temper calibrate: one model on held-out data, the rows shared out over all
// ranks.
#include <ATen/ATen.h>

#include <cmath>

#include "comm/agree.h"
#include "launch/command.h"
#include "launch/dry_run.h"
#include "launch/progress.h"
#include "launch/setup.h"
#include "launch/vocabulary.h"
#include "model/hugging_face.h"
#include "model/model_config.h"
#include "model/safetensors.h"
#include "student/calibration_config.h"
#include "student/writing.h"

namespace temper {

namespace {

namespace po = boost::program_options;

/// What both commands share: a model from a folder, a corpus, rows of a length.
class HeldOutCommand : public Command {
 public:
  void add_options(po::options_description& options) override {
    run_.add_options(options, /*folder=*/false);
    data_.add_options(options);
    model_.add_path(options);
    options.add_options()("train.seq",
                          po::value<int64_t>(&seq_)->default_value(seq_)->value_name("N"),
                          "tokens per sequence, as in training");
    evaluation_.add_options(options);
  }

  void validate() const override {
    run_.validate();
    data_.validate();
    evaluation_.validate();
    TORCH_CHECK_VALUE(seq_ >= 1, "--train.seq is ", seq_, ": give a whole number of at least 1");
    TORCH_CHECK_VALUE(!model_.path.empty(),
                      "--model.path is missing: name the Hugging Face folder of the model to ",
                      name());
    TORCH_CHECK_VALUE(
        data_.source != "text" || data_.tokenizer != "sentencepiece",
        "--data.tokenizer sentencepiece would train a new tokenizer: name the model's own (",
        model_.path, "/tokenizer.model)");
  }

  void check_models() const override { model_.check_path(); }
  bool prints_json() const override { return true; }

  void run(const Invocation& invocation) override {
    const Communicator& world = invocation.world;
    const Machine machine = set_up_machine(run_, world);
    if (invocation.dry_run) {
      agree(world, [&] {
        const TransformerConfig shape = read_model_config(model_.path);
        data_.check_files();
        check_positions(shape, "model", seq_);
        if (world.rank() == 0)
          print_held_out_plan(invocation.ini, machine, shape, seq_, evaluation_);
      });
      return;
    }
    choose_tokenizer(data_, model_.path);
    const std::unique_ptr<Corpus> corpus = open_corpus_everywhere(data_, model_.path, world);
    std::optional<Transformer> model;
    agree(world, [&] {
      check_fit(read_model_config(model_.path), "model", model_.path, *corpus, seq_);
      check_parts(*corpus, seq_, /*training=*/false);
      LoadOptions load;
      load.device = machine.device;
      load.dtype = std::nullopt;
      model.emplace(load_model(model_.path, load));
    });
    if (world.rank() == 0) {
      say("data    " + corpus->describe());
      say("model   " + describe_model(model->config()));
      if (!machine.note.empty()) say("note    " + machine.note);
    }
    measure(invocation, *model, *corpus);
  }

 protected:
  virtual void measure(const Invocation& invocation, const Transformer& model,
                       const Corpus& corpus) = 0;

  HeldOut held_out(const Corpus& corpus, Part part) const {
    return {&corpus, part, seq_, evaluation_.max_tokens, evaluation_.micro_batch};
  }

  RunConfig run_;
  DataConfig data_;
  ModelConfig model_{"model"};
  int64_t seq_ = 128;
  EvaluationConfig evaluation_;
};

class EvaluateCommand : public HeldOutCommand {
 public:
  std::string name() const override { return "evaluate"; }
  std::string summary() const override {
    return "loss, perplexity, accuracy and calibration of a model on held-out data";
  }

  void add_options(po::options_description& options) override {
    HeldOutCommand::add_options(options);
    auto add = options.add_options();
    add("run.seed", po::value<int64_t>(&run_.seed)->default_value(run_.seed)->value_name("N"),
        "seed of what the model draws, with evaluate.writes");
    add("evaluate.part",
        po::value<std::string>(&part_)->default_value(part_)->value_name("test|fit"),
        "held-out part to use");
    add("evaluate.temperature",
        po::value<double>(&temperature_)->default_value(temperature_)->value_name("T"),
        "logits are divided by T (a calibrated model's T stands in its generation_config.json)");
    add("evaluate.teacher",
        po::value<std::string>(&teacher_)->default_value(teacher_)->value_name("DIR"),
        "also compare with the teacher in this Hugging Face folder: mean KL(teacher, model) at T = "
        "1, and how "
        "often both find the same token most likely");
    add("evaluate.writing-temperature",
        po::value<double>(&writing_temperature_)
            ->default_value(writing_temperature_)
            ->value_name("T"),
        "temperature at which it writes (0: the likeliest token each time)");
    add("evaluate.writes", po::value<int64_t>(&writes_)->default_value(writes_)->value_name("N"),
        "also let the model go on from the first quarter of N rows and "
        "say "
        "how likely what it wrote is, to itself and to evaluate.teacher, and how much of it "
        "repeats");
    add("dump-logits", po::value<std::string>(&dump_)->default_value(dump_)->value_name("FILE"),
        "also write the first batch to this safetensors file: tokens (B, S) int64, labels (B, S) "
        "int64 (-100: not counted), logits (B, S, V) fp32, not tempered");
  }

  void validate() const override {
    HeldOutCommand::validate();
    TORCH_CHECK_VALUE(part_ == "test" || part_ == "fit", "--evaluate.part is '", part_,
                      "': give test or fit");
    TORCH_CHECK_VALUE(std::isfinite(writing_temperature_) && writing_temperature_ >= 0,
                      "--evaluate.writing-temperature is ", writing_temperature_,
                      ": give a finite number of at least 0");
    TORCH_CHECK_VALUE(writes_ >= 0, "--evaluate.writes is ", writes_,
                      ": give a number of rows, or 0");
    TORCH_CHECK_VALUE(writes_ > 0 || writing_temperature_ == kUsualWritingTemperature,
                      "--evaluate.writing-temperature is ", writing_temperature_,
                      " with --evaluate.writes 0, where the model writes nothing: give "
                      "--evaluate.writes a number of rows, or --evaluate.writing-temperature ",
                      kUsualWritingTemperature);
    TORCH_CHECK_VALUE(std::isfinite(temperature_) && temperature_ > 0, "--evaluate.temperature is ",
                      temperature_, ": a temperature must be a finite number above 0");
  }

  void check_models() const override {
    HeldOutCommand::check_models();
    if (!teacher_.empty()) check_model_folder(teacher_, "evaluate.teacher");
  }

 protected:
  void measure(const Invocation& invocation, const Transformer& model,
               const Corpus& corpus) override {
    const Communicator& world = invocation.world;
    const HeldOut data = held_out(corpus, part_ == "fit" ? Part::kFit : Part::kTest);
    agree(world, [&] {
      if (world.rank() == 0 && !dump_.empty()) dump_logits(model, data);
    });
    const Metrics metrics = evaluate(model, data, run_.compute(), world, {temperature_}).front();
    const std::optional<double> floor = floor_nll(data, world);
    std::optional<Agreement> agreement;
    std::optional<Transformer> teacher;
    if (!teacher_.empty()) {
      teacher = open_teacher(model, data, world);
      agreement = compare_with_teacher(model, *teacher, data, run_.compute(), world);
    }
    std::optional<WritingQuality> writing;
    if (writes_ > 0) {
      FreeRunningConfig config;
      config.temperature = writing_temperature_;
      writing = judge_writing(model, teacher ? &*teacher : nullptr, data, config, writes_,
                              static_cast<uint64_t>(run_.seed), run_.compute(), world);
    }
    if (world.rank() != 0) return;
    if (invocation.json) {
      nlohmann::ordered_json json = to_json(metrics);
      if (agreement) {
        json["kl_to_teacher"] = agreement->kl;
        json["agreement"] = agreement->arg_max;
      }
      if (writing) {
        nlohmann::ordered_json& of = json["writing"];
        of["rows"] = writing->rows;
        of["tokens"] = writing->tokens;
        of["nll"] = writing->nll;
        of["corpus_nll"] = writing->corpus_nll;
        if (writing->teacher_nll) of["teacher_nll"] = *writing->teacher_nll;
        if (writing->teacher_corpus_nll) of["teacher_corpus_nll"] = *writing->teacher_corpus_nll;
        of["repeated_4grams"] = writing->repeated;
      }
      json["part"] = part_;
      if (floor) json["entropy_floor"] = *floor;
      std::printf("%s\n", json.dump().c_str());
      return;
    }
    const std::vector<std::pair<std::string, Metrics>> rows{{"model", metrics}};
    std::printf("%s part, %lld tokens; NLL in nats per token\n\n%s", part_.c_str(),
                static_cast<long long>(metrics.tokens), metrics_table(rows).c_str());
    if (floor) std::printf("%-20s %9.4f\n", "entropy floor", *floor);
    std::printf("\n%s", intervals_table(rows).c_str());
    if (agreement) {
      std::printf("\nKL to the teacher %.4f nats per token; same most likely id %.2f%%\n",
                  agreement->kl, 100 * agreement->arg_max);
    }
    if (writing) {
      std::printf(
          "\nWritten freely at T = %g: %lld rows, %lld tokens; repeated 4-grams %.1f%%\n"
          "  NLL by the model    %.4f (of the corpus's text at these places %.4f)\n",
          writing_temperature_, static_cast<long long>(writing->rows),
          static_cast<long long>(writing->tokens), 100 * writing->repeated, writing->nll,
          writing->corpus_nll);
      if (writing->teacher_nll) {
        std::printf("  NLL by the teacher  %.4f (of the corpus's text at these places %.4f)\n",
                    *writing->teacher_nll, *writing->teacher_corpus_nll);
      }
    }
  }

 private:
  Transformer open_teacher(const Transformer& model, const HeldOut& data,
                           const Communicator& world) const {
    std::optional<Transformer> teacher;
    agree(world, [&] {
      check_fit(read_model_config(teacher_), "evaluate.teacher", teacher_, *data.corpus, seq_);
      LoadOptions load;
      load.device = model.flat_weights().device();
      load.dtype = std::nullopt;
      teacher.emplace(load_model(teacher_, load));
    });
    return std::move(*teacher);
  }

  void dump_logits(const Transformer& model, const HeldOut& data) const {
    const at::NoGradGuard no_grad;
    const int64_t rows = std::min(data.micro_batch, data.rows());
    const Batch batch = data.corpus->read(data.part, 0, 0, rows, data.seq);
    const at::Tensor& tokens = batch.tokens;  // (B, S)
    const at::ScalarType compute = run_.compute();
    const at::Tensor hidden =
        model.hidden(tokens.to(model.flat_weights().device()), compute);              // (B, S, C)
    const at::Tensor logits = at::linear(hidden, model.head().detach().to(compute));  // (B, S, V)
    write_safetensors(dump_, {{"tokens", tokens.contiguous()},
                              {"labels", batch.labels.contiguous()},
                              {"logits", logits.to(at::kFloat).cpu().contiguous()}});
  }

  std::string part_ = "test";
  std::string teacher_;
  double temperature_ = 1.0;
  std::string dump_;
  int64_t writes_ = 0;
  static constexpr double kUsualWritingTemperature = 1;
  double writing_temperature_ = kUsualWritingTemperature;
};

class CalibrateCommand : public HeldOutCommand {
 public:
  std::string name() const override { return "calibrate"; }
  std::string summary() const override { return "fit the temperature of a model on held-out data"; }

  void add_options(po::options_description& options) override {
    HeldOutCommand::add_options(options);
    calibration_.add_options(options);
    options.add_options()("calibrate.write",
                          po::value<bool>(&write_)->default_value(write_)->value_name("true|false"),
                          "write the temperature into the model's generation_config.json");
  }

  void validate() const override {
    HeldOutCommand::validate();
    calibration_.validate(seq_);
  }

 protected:
  void measure(const Invocation& invocation, const Transformer& model,
               const Corpus& corpus) override {
    const Communicator& world = invocation.world;
    const ModelResult result = judge(model, "model", 0, corpus, seq_, evaluation_, run_.compute(),
                                     world, calibration_.position_buckets);
    agree(world, [&] {
      if (world.rank() == 0 && write_) write_generation_config(model_.path, result.fit.temperature);
    });
    if (world.rank() != 0) return;
    if (result.fit.undetermined) {
      say(
          format("warning: these data do not determine the temperature (%.4g is as far as the "
                 "search went)",
                 result.fit.temperature));
    }
    if (invocation.json) {
      nlohmann::ordered_json json;
      json["temperature"] = result.fit.temperature;
      json["passes"] = result.fit.passes;
      json["undetermined"] = result.fit.undetermined;
      json["before"] = to_json(result.test_before);
      json["after"] = to_json(result.test_after);
      json["fit"] = {{"before", to_json(result.fit_before)}, {"after", to_json(result.fit_after)}};
      json["ece_rose"] = result.ece_rose();
      if (!result.positions.empty()) json["positions"] = to_json(result.positions);
      std::printf("%s\n", json.dump().c_str());
      return;
    }
    const std::vector<std::pair<std::string, Metrics>> rows{
        {"fit part, before", result.fit_before},
        {"fit part, after", result.fit_after},
        {"test part, before", result.test_before},
        {"test part, after", result.test_after}};
    std::printf("temperature %.6f, fitted on %lld tokens in %d passes\n\n%s\n%s",
                result.fit.temperature, static_cast<long long>(result.fit_before.tokens),
                result.fit.passes, metrics_table(rows).c_str(), intervals_table(rows).c_str());
    if (!result.positions.empty()) std::printf("\n%s", positions_table(result.positions).c_str());
    if (result.ece_rose()) std::printf("\nnote    %s\n", ece_note(result).c_str());
    if (write_) std::printf("\nwritten to %s/generation_config.json\n", model_.path.c_str());
  }

 private:
  CalibrationConfig calibration_;
  bool write_ = false;
};

}  // namespace

std::unique_ptr<Command> make_evaluate_command() { return std::make_unique<EvaluateCommand>(); }
std::unique_ptr<Command> make_calibrate_command() { return std::make_unique<CalibrateCommand>(); }

}  // namespace temper
