// temper train: a model on hard labels, data-parallel over all ranks. Makes a teacher, or the
// baseline of a student.
#include <ATen/ATen.h>

#include "comm/agree.h"
#include "data/atomic_file.h"
#include "launch/command.h"
#include "launch/dry_run.h"
#include "launch/faults.h"
#include "launch/log_config.h"
#include "launch/progress.h"
#include "launch/report.h"
#include "launch/resumption.h"
#include "launch/run_folder.h"
#include "launch/setup.h"
#include "launch/stop_request.h"
#include "launch/training.h"
#include "launch/vocabulary.h"
#include "model/fingerprint.h"
#include "model/hugging_face.h"
#include "model/model_config.h"
#include "student/label_loss.h"

namespace temper {

namespace {

class TrainCommand : public Command {
 public:
  std::string name() const override { return "train"; }
  std::string summary() const override {
    return "train or fine-tune a model with hard labels (makes a teacher)";
  }

  void add_options(boost::program_options::options_description& options) override {
    run_.add_options(options, /*folder=*/true);
    data_.add_options(options);
    model_.add_options(options);
    train_.add_options(options, /*with_teacher=*/false);
    labels_.add_options(options);
    evaluation_.add_options(options);
    log_.add_options(options);
    faults_.add_options(options);
  }

  void validate() const override {
    run_.validate();
    data_.validate();
    train_.validate();
    train_.free_running.check_rows(data_);
    labels_.validate();
    evaluation_.validate();
    faults_.validate();
  }

  void check_models() const override { model_.check_path(); }
  bool stops_when_asked() const override { return true; }

  void run(const Invocation& invocation) override {
    const Communicator& world = invocation.world;
    const Machine machine = set_up_machine(run_, world);
    if (invocation.dry_run) {
      agree(world, [&] {
        const TransformerConfig shape = model_.resolve(planned_vocab(data_, model_));
        data_.check_files();
        check_positions(shape, "model", train_.seq);
        if (world.rank() != 0) return;
        check_run_folder(run_, name(), invocation.ini);
        print_train_plan(invocation.ini, machine, world.size(), shape, train_, run_.compute());
      });
      return;
    }
    const LockedFolder folder = open_run_folder(run_, name(), invocation.ini, world);
    const std::string& dir = folder.path;
    choose_tokenizer(data_, model_.path);
    const std::unique_ptr<Corpus> corpus = open_corpus_everywhere(data_, dir, world);
    agree_on_tokenizer(*corpus, model_.path, world);
    std::optional<Faults> faults;
    agree(world, [&] { faults.emplace(faults_, world, dir); });
    std::optional<Transformer> model;
    agree(world, [&] {
      const TransformerConfig shape = model_.resolve(corpus->vocab());
      check_fit(shape, "model", model_.path, *corpus, train_.seq);
      check_parts(*corpus, train_.seq, /*training=*/true);
      if (model_.path.empty()) {
        model.emplace(shape, at::kFloat, machine.device);
        model->init_weights(static_cast<uint64_t>(run_.seed));
      } else {
        LoadOptions load;
        load.device = machine.device;
        model.emplace(load_model(model_.path, load));
      }
    });
    const bool speaks = world.rank() == 0;
    if (speaks) {
      say("data    " + corpus->describe());
      say("model   " + describe_model(model->config()));
      say("ranks   " + std::to_string(world.size()) + ", " + describe(machine));
      for (const std::string& note : {machine.note, run_.crash_note(train_.checkpoint_every)}) {
        if (!note.empty()) say("note    " + note);
      }
      say("folder  " + dir);
    }
    const std::string stage_name = "train";
    const Resumption resumption(run_.resume, dir, stage_name, invocation.ini, world);
    StageIdentity identity =
        resumption.identity(stage_name, static_cast<uint64_t>(run_.seed), corpus->fingerprint());
    identity.first_weights = kRandomWeights;
    identity.first_weights_options = "no --model.path";
    if (!model_.path.empty()) {
      const std::string own = speaks ? fingerprint(*model) : "";
      world.barrier();  // without holding a core
      identity.first_weights = world.broadcast(own, 0);
      identity.first_weights_options = "--model.path " + model_.path;
    }
    if (const auto done = resumption.result(identity)) {
      if (speaks) {
        say("resume  " + dir + ": this run is finished");
        finish(dir, nlohmann::ordered_json(*done));
      }
      return;
    }
    std::unique_ptr<Collectives> collectives = make_collectives(world, machine);
    const auto leave = [&](const std::string& words) {
      collectives.reset();  // collective, so not with an exception on its way
      throw StopRequested(words);
    };
    if (any_asked_to_stop(world)) leave(stop_words({}, resumption.goes_on()));
    TrainingStage stage;
    stage.title = "train";
    stage.train = train_;
    stage.loss.labels = labels_;
    stage.compute = run_.compute();
    stage.seed = static_cast<uint64_t>(run_.seed);
    stage.corpus = corpus.get();
    stage.metrics_path = dir + "/metrics.jsonl";
    if (log_.tensorboard) stage.tensorboard_dir = dir + "/tensorboard";
    stage.checkpoint_dir = resumption.checkpoints(stage_name);
    stage.run = CheckpointManifest(identity);
    stage.from = resumption.point(stage.run);
    stage.evaluation = evaluation_;
    stage.tokenizer = tokenizer_files(tokenizer_to_keep(*corpus, model_.path));
    stage.faults = &*faults;
    stage.rank_names = rank_names(world);
    const TrainingSummary summary = run_training(*model, stage, *collectives, world);
    if (summary.stopped) leave(stop_words(summary));
    if (speaks) save_model(*model, dir + "/model", std::nullopt, stage.tokenizer);

    std::optional<ModelResult> judged;
    try {
      judged = judge(*model, "model", stage.seed, *corpus, train_.seq, evaluation_, run_.compute(),
                     world);
    } catch (const EvaluationStopped&) {  // by all ranks
    }
    if (!judged) leave(stop_words(summary) + "; the model is in " + dir + "/model");
    const ModelResult& result = *judged;
    const std::optional<double> floor = floor_nll(
        {corpus.get(), Part::kTest, train_.seq, evaluation_.max_tokens, evaluation_.micro_batch},
        world);
    if (!speaks) return;
    if (log_.tensorboard)
      TensorboardFile(stage.tensorboard_dir, "2.test").write(train_.steps, test_scalars(result));
    nlohmann::ordered_json json = to_json(result);
    if (floor) json["entropy_floor"] = *floor;
    json["seconds"] = summary.seconds;
    json["tokens_per_s"] = summary.tokens_per_second;
    resumption.finish(stage.run, json);
    finish(dir, json);
  }

 private:
  /// Summary, report and table; `result` as summary.json has it.
  static void finish(const std::string& dir, const nlohmann::ordered_json& result) {
    write_text_file(dir + "/summary.json", result.dump(2) + "\n");
    write_report(dir);
    const double floor = result.value("entropy_floor", static_cast<double>(NAN));
    std::fputs(("\n" + results_table({result_from_json(result)}, floor)).c_str(), stdout);
    std::printf("\nmodel: %s/model\n", dir.c_str());
  }

  RunConfig run_;
  DataConfig data_;
  ModelConfig model_{"model"};
  TrainConfig train_;
  LabelLossConfig labels_;
  EvaluationConfig evaluation_;
  LogConfig log_;
  FaultConfig faults_;
};

}  // namespace

std::unique_ptr<Command> make_train_command() { return std::make_unique<TrainCommand>(); }

}  // namespace temper
