#include "launch/setup.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "comm/activity.h"
#include "comm/agree.h"
#include "comm/collectives_choice.h"
#include "comm/gpus.h"
#include "comm/mpi/check.h"
#include "launch/progress.h"
#include "launch/stop_request.h"
#include "launch/store_setup.h"
#include "launch/vocabulary.h"
#include "model/hugging_face.h"

namespace temper {

namespace {

std::string fingerprint_text(uint64_t fingerprint) {
  return format("%016llx", static_cast<unsigned long long>(fingerprint));
}

}  // namespace

void agree_on_tokenizer(const Corpus& corpus, const std::string& folder,
                        const Communicator& world) {
  std::string file;
  uint64_t fingerprint = 0;
  agree(world, [&] {
    file = tokenizer_to_keep(corpus, folder);
    fingerprint = tokenizer_fingerprint(file);
  });
  agree_on(world, "their tokenizer",
           file.empty() ? "none" : file + ", fingerprint " + fingerprint_text(fingerprint),
           "every node must see the same files");
}

std::unique_ptr<Corpus> open_corpus_everywhere(const DataConfig& config, const std::string& run_dir,
                                               const Communicator& world) {
  std::unique_ptr<Corpus> corpus;
  for (const bool first : {true, false}) {
    agree(world, [&] {
      if ((world.rank() == 0) == first) corpus = open_corpus(config, run_dir, /*may_write=*/first);
    });
  }
  agree_on(world, "their data",
           corpus->describe() + ", fingerprint " + fingerprint_text(corpus->fingerprint()),
           "every node must see the same files");
  return corpus;
}

void check_fit(const TransformerConfig& model, const std::string& section,
               const std::string& folder, const Corpus& corpus, int64_t seq) {
  check_same_tokenizer(corpus, section, folder);
  check_ids(corpus, section, folder, model.vocab);
  check_positions(model, section, seq);
}

void check_positions(const TransformerConfig& model, const std::string& section, int64_t seq) {
  TORCH_CHECK_VALUE(seq <= model.positions, "--train.seq is ", seq, ", but the ", section,
                    " takes at most ", model.positions,
                    " positions: give a shorter train.seq, or a model with more positions");
}

void check_parts(const Corpus& corpus, int64_t seq, bool training) {
  for (const Part part : {Part::kTrain, Part::kFit, Part::kTest}) {
    if (part == Part::kTrain && !training) continue;
    const int64_t rows = corpus.rows(part, seq);
    TORCH_CHECK_VALUE(
        rows > 0, "the ", part_name(part), " part has no row of --train.seq ", seq, " tokens (",
        corpus.describe(),
        "): give more text, a shorter train.seq, or other --data.fit-share and --data.test-share");
  }
}

Transformer open_teacher(const TeacherConfig& config, const TransformerConfig& shape, uint64_t seed,
                         at::ScalarType compute, at::Device device) {
  const std::optional<at::ScalarType> dtype = config.weights_dtype(compute);
  if (config.model.path.empty()) {
    Transformer teacher(shape, dtype.value_or(at::kFloat), device);
    teacher.init_weights(seed);
    return teacher;
  }
  LoadOptions load;
  load.device = device;
  load.dtype = dtype;
  load.vocab = shape.vocab;
  Transformer teacher = load_model(config.model.path, load);
  for (const Parameter& parameter : teacher.parameters()) {
    TORCH_CHECK_VALUE(at::isfinite(parameter.value).all().item<bool>(), "--teacher.path ",
                      config.model.path, ": the weights ", parameter.name,
                      " hold values that are no finite numbers; name a sound model");
  }
  return teacher;
}

std::unique_ptr<Collectives> make_collectives(const Communicator& comm, const Machine& machine) {
  // By all ranks together, whatever each computes on: the backends do not speak with each other.
  const CollectivesChoice choice = choose_collectives(
      gpus_of_ranks(comm, machine.device), comm.all_gather(this_rank()), nccl_available());
  if (comm.rank() == 0 && !choice.note.empty()) say("note    " + choice.note);
  if (choice.nccl) return make_nccl_collectives(comm, machine.device);
  MpiCollectivesOptions options;
  options.shares_memory = choice.shares_memory;
  return make_mpi_collectives(comm, options);
}

ModelResult judge(const Transformer& model, const std::string& name, uint64_t seed,
                  const Corpus& corpus, int64_t seq, const EvaluationConfig& config,
                  at::ScalarType compute, const Communicator& comm, int64_t position_buckets) {
  const InPhase evaluates(Phase::kEvaluation);
  HeldOut data{&corpus, Part::kFit, seq, config.max_tokens, config.micro_batch, asked_to_stop};
  ModelResult result;
  result.name = name;
  result.seed = seed;
  result.parameters = model.config().parameter_count();
  result.fit = calibrate(model, data, compute, comm);
  const std::vector<double> temperatures{1.0, result.fit.temperature};
  NllCurve curve(result.fit.temperature);
  std::vector<Metrics> metrics = evaluate(model, data, compute, comm, temperatures, &curve);
  result.nll_curve = curve.finish(comm);
  result.fit_before = metrics[0];
  result.fit_after = metrics[1];
  data.part = Part::kTest;
  metrics = evaluate(model, data, compute, comm, temperatures);
  result.test_before = metrics[0];
  result.test_after = metrics[1];
  if (position_buckets > 0) {
    HeldOut fit_part = data;
    fit_part.part = Part::kFit;
    result.positions = calibrate_by_position(model, fit_part, data, position_buckets,
                                             result.fit.temperature, compute, comm);
  }
  return result;
}

}  // namespace temper
