// temper record: teacher ranks alone write soft targets to a store, which `distill --teacher.store`
// replays. The same command again goes on where the last one was stopped, and makes damaged shards
// again.
#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <boost/program_options/value_semantic.hpp>
#include <filesystem>
#include <sstream>

#include "comm/agree.h"
#include "launch/command.h"
#include "launch/dry_run.h"
#include "launch/progress.h"
#include "launch/record_meter.h"
#include "launch/setup.h"
#include "launch/store_setup.h"
#include "launch/vocabulary.h"
#include "teacher/inference.h"
#include "teacher/recorder.h"
#include "teacher/teacher_config.h"

namespace temper {

namespace {

namespace po = boost::program_options;
namespace fs = std::filesystem;

class RecordCommand : public Command {
 public:
  std::string name() const override { return "record"; }
  std::string summary() const override {
    return "teacher ranks only: write soft targets to a store, to be replayed by distill";
  }

  void add_options(po::options_description& options) override {
    const auto count = [](int64_t* member) {
      return po::value<int64_t>(member)->default_value(*member)->value_name("N");
    };
    auto add = options.add_options();
    add("record.store", po::value<std::string>(&dir_)->default_value(dir_)->value_name("DIR"),
        "folder of the store; one that is there is completed, and mended where it is damaged");
    add("record.parts", count(&parts_),
        "students of the live run whose soft targets are recorded, bit for bit; a replay may have "
        "any number (0: 1, or as the store that is there)");
    add("record.steps-per-shard", count(&steps_per_shard_),
        "steps in a file (0: about 64 MiB before compression, or as the store that is there)");
    add("record.compression", count(&compression_),
        "level of zstd, 1 to 19 (0: 1, or as the store that is there)");
    run_.add_options(options, /*folder=*/false);
    add("run.seed", po::value<int64_t>(&run_.seed)->default_value(run_.seed)->value_name("N"),
        "seed of the order of the data, and of draws");
    data_.add_options(options);
    teacher_.add_options(options);
    add("train.steps", count(&train_.steps), "steps to record");
    add("train.batch", count(&train_.batch), "sequences per step");
    add("train.micro-batch", count(&train_.micro_batch),
        "sequences per forward pass of the teacher (0: a part's whole share of the batch)");
    add("train.seq", count(&train_.seq), "tokens per sequence");
  }

  void validate() const override {
    run_.validate();
    data_.validate();
    teacher_.validate();
    teacher_.check_used({payload_from_name(teacher_.payload)});
    train_.validate();
    TORCH_CHECK_VALUE(!dir_.empty(), "--record.store is missing: name the folder to write to");
    check_recordable(teacher_.temperature, "--record.store " + dir_);
    TORCH_CHECK_VALUE(parts_ >= 0 && parts_ <= train_.batch, "--record.parts is ", parts_,
                      ": give 1 to the sequences of a batch, ", train_.batch,
                      " (0: as the store that is there, or 1)");
    TORCH_CHECK_VALUE(steps_per_shard_ >= 0, "--record.steps-per-shard is ", steps_per_shard_,
                      ": give 1 or more (0: automatic)");
    TORCH_CHECK_VALUE(compression_ >= 0 && compression_ <= 19, "--record.compression is ",
                      compression_, ": give a level of zstd, 1 to 19 (0: automatic)");
    TORCH_CHECK_VALUE(teacher_.train_steps == 0, "--teacher.train-steps is ", teacher_.train_steps,
                      ", but record trains no teacher: train one with temper train or temper "
                      "distill, and name its folder with --teacher.path and --teacher.train-steps "
                      "0");
  }

  void check_models() const override { teacher_.model.check_path(); }

  void run(const Invocation& invocation) override;

 private:
  std::vector<ShardId> find_work(const StoreIndex& index, const Communicator& world) const;

  std::string dir_;
  int64_t parts_ = 0;
  int64_t steps_per_shard_ = 0;
  int64_t compression_ = 0;
  RunConfig run_;
  DataConfig data_;
  TeacherConfig teacher_;
  TrainConfig train_;
};

/// Checks every shard, the ranks in turn, and returns those to be made, the same on every rank.
/// Collective.
std::vector<ShardId> RecordCommand::find_work(const StoreIndex& index,
                                              const Communicator& world) const {
  const std::vector<ShardId> all = index.shards();
  std::ostringstream mine;
  for (size_t i = static_cast<size_t>(world.rank()); i < all.size();
       i += static_cast<size_t>(world.size())) {
    const std::string trouble = shard_trouble(index, dir_, all[i]);
    if (trouble.empty()) continue;
    if (!trouble.ends_with(": missing")) say("note    " + trouble + "; it is made again");
    mine << i << ' ';
  }
  std::vector<size_t> numbers;
  for (const std::string& theirs : world.all_gather(mine.str())) {
    std::istringstream list(theirs);
    for (size_t number = 0; list >> number;) numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  std::vector<ShardId> work;
  for (const size_t number : numbers) work.push_back(all[number]);
  return work;
}

void RecordCommand::run(const Invocation& invocation) {
  const Communicator& world = invocation.world;
  const Machine machine = set_up_machine(run_, world);
  if (invocation.dry_run) {
    agree(world, [&] {
      const TransformerConfig shape = teacher_.model.resolve(planned_vocab(data_, teacher_.model));
      data_.check_files();
      check_positions(shape, "teacher", train_.seq);
      StoreIndex plan;
      plan.payload = teacher_.payload_spec(shape, run_.compute());
      plan.payload.validate();
      plan.temperature = teacher_.temperature.lowest();
      plan.steps = train_.steps;
      plan.batch = train_.batch;
      plan.seq = train_.seq;
      plan.parts = std::max<int64_t>(1, parts_);
      plan.micro_batch = train_.micro_batch;
      plan.steps_per_shard = steps_per_shard_ > 0 ? std::min(steps_per_shard_, plan.steps)
                                                  : usual_steps_per_shard(plan);
      plan.validate("--record.store " + dir_);
      if (world.rank() == 0)
        print_record_plan(invocation.ini, machine, shape, plan, teacher_, run_.compute());
    });
    return;
  }
  agree(world, [&] {
    if (world.rank() != 0) return;
    std::error_code error;
    fs::create_directories(dir_, error);  // a tokenizer that is trained goes there
    TORCH_CHECK_VALUE(fs::is_directory(dir_), "--record.store ", dir_,
                      ": cannot make this folder (", error ? error.message() : "it is a file", ")");
  });
  choose_tokenizer(data_, teacher_.model.path);
  const std::unique_ptr<Corpus> corpus = open_corpus_everywhere(data_, dir_, world);
  std::optional<Transformer> teacher;
  PayloadSpec spec;
  std::string note;
  uint64_t tokenizer = 0;
  const auto seed = static_cast<uint64_t>(run_.seed);
  agree(world, [&] {
    TransformerConfig shape = teacher_.model.resolve(corpus->vocab());
    note = fit_vocabulary(*corpus, "teacher", teacher_.model.path, shape);
    check_fit(shape, "teacher", teacher_.model.path, *corpus, train_.seq);
    TORCH_CHECK_VALUE(corpus->rows(Part::kTrain, train_.seq) > 0,
                      "the training part has no row of --train.seq ", train_.seq, " tokens (",
                      corpus->describe(), "): give more text, or a shorter train.seq");
    spec = teacher_.payload_spec(shape, run_.compute());
    spec.validate();
    tokenizer = tokenizer_fingerprint(tokenizer_to_keep(*corpus, teacher_.model.path));
    teacher.emplace(open_teacher(teacher_, shape, seed, run_.compute(), machine.device));
  });
  const bool speaks = world.rank() == 0;
  if (speaks) {
    say("data    " + corpus->describe());
    say("teacher " + describe_model(teacher->config()));
    if (!note.empty()) say("note    " + note);
    if (teacher_.model.path.empty())
      say("warning: the teacher has random weights (good for benchmarks only): name one with "
          "--teacher.path");
    say("ranks   " + std::to_string(world.size()) + ", " + describe(machine));
    if (!machine.note.empty()) say("note    " + machine.note);
  }

  const TeacherInference inference(*teacher, run_.compute(), spec,
                                   {teacher_.temperature, train_.steps}, seed);
  StoreRequest request;
  request.option = "--record.store";
  request.dir = dir_;
  request.ini = invocation.ini;
  request.teacher_shape = teacher->config();
  request.teacher = &*teacher;
  request.index = store_of_run(*corpus, tokenizer, spec, teacher_.temperature, run_, train_);
  if (train_.micro_batch == 0) request.index.micro_batch = -1;
  request.index.parts = parts_;
  request.index.steps_per_shard = steps_per_shard_;
  request.index.compression = compression_;
  if (speaks && spec.kind == Payload::kHidden) request.head = inference.head().cpu();
  const WritableStore store = open_store_for_writing(std::move(request), world);
  const StoreIndex& index = store.index;
  const std::vector<ShardId> work = find_work(index, world);
  const size_t count = index.shards().size();
  if (speaks)
    say(format("store   %s: %zu of %zu shards are to be made", dir_.c_str(), work.size(), count));

  int64_t rows = 0;
  for (const ShardId& shard : work) rows += index.rows_of(shard);
  RecordMeter meter(world, index, rows);
  for (size_t i = static_cast<size_t>(world.rank()); i < work.size();
       i += static_cast<size_t>(world.size())) {
    record_shard(inference, *corpus, index, dir_, work[i],
                 [&](int64_t done, int64_t bytes) { meter.add(done, bytes); });
  }
  const RecordMeter::Totals made = meter.finish();
  if (!speaks) return;
  double bytes = 0;
  for (const ShardId& shard : index.shards())
    bytes += static_cast<double>(fs::file_size(dir_ + "/" + index.shard_name(shard)));
  const double tokens = static_cast<double>(index.rows()) * static_cast<double>(index.seq);
  const auto raw = static_cast<double>(index.payload.bytes_per_token());
  std::printf("%s: %s tokens in %zu shards, %zu of them made now in %s (%s tokens/s)\n",
              dir_.c_str(), count_text(tokens).c_str(), count, work.size(),
              duration_text(made.seconds).c_str(),
              count_text(static_cast<double>(made.rows * index.seq) / std::max(made.seconds, 1e-3))
                  .c_str());
  std::printf("bytes per token: %.1f raw, %.1f on disk (%.0f%%)\n", raw, bytes / tokens,
              100 * bytes / (tokens * raw));
  std::printf("replay it with temper distill --teacher.store %s\n", dir_.c_str());
}

}  // namespace

std::unique_ptr<Command> make_record_command() { return std::make_unique<RecordCommand>(); }

}  // namespace temper
