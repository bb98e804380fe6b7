#include "teacher/recorder.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <filesystem>

#include "comm/soft_target_check.h"
#include "data/atomic_file.h"
#include "data/checksum.h"
#include "model/safetensors.h"
#include "teacher/payload_rows.h"
#include "teacher/store_shard.h"
#include "teacher/worker.h"

namespace temper {

namespace fs = std::filesystem;

void record_shard(const TeacherInference& inference, const Corpus& corpus, const StoreIndex& index,
                  const std::string& dir, const ShardId& shard,
                  const std::function<void(int64_t rows, int64_t bytes)>& progress) {
  const PayloadSpec& spec = index.payload;
  const WorkPlan plan{index.steps, index.batch, index.micro_batch, index.seq,
                      static_cast<uint64_t>(index.seed)};
  const std::vector<RowRange> units =
      plan.units(static_cast<int>(shard.part), static_cast<int>(index.parts));
  ShardWriter writer(index, dir, shard);
  std::vector<unsigned char> bytes(static_cast<size_t>(index.row_bytes()));
  at::Tensor buffer = at::empty({units.front().size() * index.row_bytes()}, at::kByte);  // (bytes)
  const int64_t first_step = shard.chunk * index.steps_per_shard;
  for (int64_t step = first_step; step < first_step + index.steps_of(shard); ++step) {
    for (const RowRange& rows : units) {
      const Batch batch = corpus.read(Part::kTrain, plan.seed, step * index.batch + rows.begin,
                                      rows.size(), index.seq);
      const PayloadView view(buffer.narrow(0, 0, rows.size() * index.row_bytes()), spec,
                             rows.size() * index.seq);
      inference.soft_targets({.step = step, .first_row = rows.begin, .rows = rows.size()},
                             batch.tokens, view);
      check_soft_targets(view, spec, {.step = step, .first_row = rows.begin, .rows = rows.size()},
                         rows.size() * index.seq, "the teacher that is recorded");
      const int64_t before = writer.file_bytes();
      for (int64_t row = 0; row < rows.size(); ++row) {
        take_row(view, spec, row, index.seq, bytes.data());
        writer.add(hash_tokens(batch.tokens.narrow(0, row, 1)), bytes.data());
      }
      progress(rows.size(), writer.file_bytes() - before);
    }
  }
  writer.commit();
}

std::string shard_trouble(const StoreIndex& index, const std::string& dir, const ShardId& shard) {
  const std::string path = dir + "/" + index.shard_name(shard);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return path + ": missing";
  try {
    const ShardReader reader(index, dir, shard);
  } catch (const c10::ValueError& error) {
    return error.what_without_backtrace();
  }
  return {};
}

std::string write_store_head(const at::Tensor& head, const std::string& dir,
                             const std::string& expected) {
  const std::string path = dir + "/" + kStoreHeadFile;
  std::error_code ignored;
  const bool there = fs::is_regular_file(path, ignored) && fs::file_size(path, ignored) > 0;
  if (!there || file_checksum(path) != expected) write_safetensors(path, {{"head", head}});
  return file_checksum(path);
}

void remove_temporary_files(const std::string& dir) {
  remove_unfinished_files(dir, [](const std::string& name) {
    return name == kStoreIndexFile || name == kStoreHeadFile || name == kStoreConfigFile ||
           (name.starts_with("shard-") && name.ends_with(".soft"));
  });
}

}  // namespace temper
