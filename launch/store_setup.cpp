#include "launch/store_setup.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "comm/agree.h"
#include "data/atomic_file.h"
#include "data/checksum.h"
#include "data/tokenizer.h"
#include "launch/dry_run.h"
#include "launch/progress.h"
#include "model/fingerprint.h"
#include "teacher/recorder.h"
#include "teacher/store_fit.h"
#include "teacher/stored_soft_targets.h"

#ifndef TEMPER_VERSION
#error "launch/CMakeLists.txt defines TEMPER_VERSION"
#endif

namespace temper {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kUsualCompression = 1;

std::string hex(uint64_t value) {
  return format("%016llx", static_cast<unsigned long long>(value));
}

void make_folder(const std::string& dir, const std::string& option) {
  std::error_code error;
  fs::create_directories(dir, error);
  TORCH_CHECK_VALUE(!error && fs::is_directory(dir), option, " ", dir,
                    ": cannot make this folder (", error ? error.message() : "it is a file",
                    "); name one that you may write to");
}

/// Rank 0's part: the index that the store has from now on.
StoreIndex write_or_keep(StoreRequest& request, FolderLock& lock) {
  make_folder(request.dir, request.option);
  lock = FolderLock(request.dir, request.option);
  remove_temporary_files(request.dir);
  const bool there = has_store_index(request.dir);
  StoreIndex found;
  if (there) found = read_store_index(request.dir);
  StoreIndex& index = request.index;
  if (index.parts == 0) index.parts = there ? found.parts : 1;
  if (index.micro_batch < 0) index.micro_batch = there ? found.micro_batch : 0;
  if (index.compression == 0) index.compression = there ? found.compression : kUsualCompression;
  if (index.steps_per_shard == 0)
    index.steps_per_shard = there ? found.steps_per_shard : usual_steps_per_shard(index);
  index.steps_per_shard = std::min(index.steps_per_shard, index.steps);
  if (there) {
    index.head = found.head;
    check_same_store(found, index, request.dir, request.option);
  }
  if (index.payload.kind == Payload::kHidden) {
    index.head = write_store_head(request.head, request.dir, found.head);
    if (there) check_same_store(found, index, request.dir, request.option);
  }
  index.validate(request.option + " " + request.dir);
  if (there) return found;
  index.config = hex_text(checksum(request.ini));
  write_text_file(request.dir + "/" + kStoreConfigFile, request.ini);
  write_store_index(request.dir, index);
  return index;
}

}  // namespace

uint64_t tokenizer_fingerprint(const std::string& tokenizer_file) {
  if (tokenizer_file.empty()) return 0;
  return fingerprint(*open_tokenizer(tokenizer_file, "data.tokenizer"));
}

void set_special_ids(const StoreIndex& store, TransformerConfig& shape) {
  shape.bos_id = store.bos_id;
  shape.pad_id = store.pad_id;
  shape.eos_ids = store.eos_ids;
}

void check_recordable(const Schedule& temperature, const std::string& option) {
  TORCH_CHECK_VALUE(!temperature.changes(), option, " with --teacher.temperature ",
                    temperature.text(),
                    ": a store has one temperature, since a replay may read its rows at other "
                    "steps; give --teacher.temperature a plain number, or learn from a teacher "
                    "that runs, without a store");
}

StoreIndex store_of_run(const Corpus& corpus, uint64_t tokenizer, const PayloadSpec& payload,
                        const Schedule& temperature, const RunConfig& run,
                        const TrainConfig& train) {
  StoreIndex index;
  index.temper = TEMPER_VERSION;
  index.data = hex(corpus.fingerprint());
  index.tokenizer = tokenizer == 0 ? "" : hex(tokenizer);
  index.payload = payload;
  index.precision = run.precision;
  index.temperature = temperature.lowest();
  index.seed = run.seed;
  index.steps = train.steps;
  index.batch = train.batch;
  index.seq = train.seq;
  index.micro_batch = train.micro_batch;
  index.parts = index.steps_per_shard = index.compression = 0;
  index.data_words = corpus.describe();
  return index;
}

WritableStore open_store_for_writing(StoreRequest request, const Communicator& world) {
  std::string print;
  if (world.rank() == request.teacher_rank) print = fingerprint(*request.teacher);
  request.index.teacher = world.broadcast(print, request.teacher_rank);
  request.index.teacher_words = describe_model(request.teacher_shape);
  request.index.bos_id = request.teacher_shape.bos_id;
  request.index.pad_id = request.teacher_shape.pad_id;
  request.index.eos_ids = request.teacher_shape.eos_ids;
  WritableStore store;
  std::string text;
  agree(world, [&] {
    if (world.rank() == 0) text = to_json(write_or_keep(request, store.lock)).dump();
  });
  store.index = store_index_from_json(nlohmann::json::parse(world.broadcast(text, 0)),
                                      request.dir + "/" + kStoreIndexFile);
  return store;
}

OpenStore open_store_for_replay(const std::string& dir, const StoreIndex& run, int64_t seeds) {
  OpenStore store;
  store.dir = dir;
  store.index = read_store_index(dir);
  check_replay_fits(store.index, run, dir);
  const bool in_order = seeds == 1 && run.seed == store.index.seed;
  const MissingShards missing =
      missing_shards(store.index, dir, in_order ? run.rows() : store.index.rows());
  if (missing.count > 0) {
    std::string names;
    for (const std::string& name : missing.first) names += (names.empty() ? "" : ", ") + name;
    if (missing.count > static_cast<int64_t>(missing.first.size())) names += ", ...";
    TORCH_CHECK_VALUE(false, "--teacher.store ", dir, " is not complete: ", missing.count,
                      " of its ", store.index.shard_count(), " shards are missing (", names,
                      "); make them with '", mend_command(store.index, dir), "'");
  }
  store.head = read_store_head(store.index, dir);
  return store;
}

}  // namespace temper
