#include "teacher/stored_soft_targets.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <chrono>
#include <filesystem>
#include <utility>

#include "comm/soft_target_check.h"
#include "data/checksum.h"
#include "model/safetensors.h"
#include "teacher/payload_rows.h"
#include "teacher/store_fit.h"

namespace temper {
namespace {

// A process may have some 65,000 mappings. Beyond this many shards all are closed, and opened (and
// checked) anew.
constexpr size_t kMostOpen = 16384;

std::string hex(uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

}  // namespace

StoredSoftTargets::StoredSoftTargets(StoreIndex index, std::string dir, const Replay& replay,
                                     at::Tensor head)
    : index_(std::move(index)),
      dir_(std::move(dir)),
      replay_(replay),
      head_(std::move(head)),
      row_(static_cast<size_t>(index_.row_bytes())) {
  TORCH_INTERNAL_ASSERT(replay_.order.rows == index_.rows() && replay_.batch > 0);
}

const ShardReader& StoredSoftTargets::shard(const ShardId& id) {
  const std::pair<int64_t, int64_t> key{id.chunk, id.part};
  const auto found = open_.find(key);
  if (found != open_.end()) return found->second;
  if (open_.size() >= kMostOpen) open_.clear();
  return open_.emplace(key, ShardReader(index_, dir_, id)).first->second;
}

void StoredSoftTargets::read(const RowPlace& place, int64_t row) {
  try {
    const ShardReader& from = shard(place.shard);
    from.read(place.row, row_.data());
    bytes_ += from.frame_bytes(place.row);
  } catch (const c10::ValueError& error) {
    TORCH_CHECK_VALUE(false, error.what_without_backtrace(), "; make it again with '",
                      mend_command(index_, dir_), "'");
  }
  put_row(row_.data(), view_, index_.payload, row, index_.seq);
}

SoftTargets StoredSoftTargets::targets(const MicroBatchId& id, const at::Tensor& tokens) {
  const auto start = std::chrono::steady_clock::now();
  TORCH_CHECK(tokens.dim() == 2 && tokens.size(0) == id.rows && tokens.size(1) == index_.seq,
              "a micro-batch of ", id.rows, " rows with tokens ", tokens.sizes(),
              " from a store with rows of ", index_.seq);
  const int64_t bytes = tokens.numel() * index_.payload.bytes_per_token();
  if (!buffer_.defined() || buffer_.size(0) < bytes) buffer_ = at::empty({bytes}, at::kByte);
  view_ = PayloadView(buffer_.narrow(0, 0, bytes), index_.payload, tokens.numel());
  for (int64_t row = 0; row < id.rows; ++row) {
    const int64_t in_run = id.step * replay_.batch + id.first_row + row;
    const int64_t recorded = replay_.order.row(replay_.seed, in_run);
    const RowPlace place = index_.place(recorded);
    read(place, row);
    const uint64_t here = hash_tokens(tokens.narrow(0, row, 1));
    const uint64_t there = shard(place.shard).token_hash(place.row);
    TORCH_CHECK_VALUE(here == there, "--teacher.store ", dir_, " does not fit step ", id.step,
                      ", row ", id.first_row + row, ": the tokens' hash is ", hex(here),
                      " here and ", hex(there), " in ", index_.shard_name(place.shard), ", row ",
                      place.row, " (recorded at step ", recorded / index_.batch, ", row ",
                      recorded % index_.batch,
                      "); replay it with the data and the tokenizer that it was recorded with");
  }
  check_soft_targets(view_, index_.payload, id, tokens.numel(), "--teacher.store " + dir_);
  const SoftTargets result = soft_targets(view_, index_.payload, head_);
  wait_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

double StoredSoftTargets::take_wait_seconds() { return std::exchange(wait_seconds_, 0.0); }

int64_t StoredSoftTargets::take_bytes() { return std::exchange(bytes_, 0); }

MissingShards missing_shards(const StoreIndex& index, const std::string& dir, int64_t rows) {
  MissingShards missing;
  const int64_t steps = std::min(index.steps, (rows + index.batch - 1) / index.batch);
  const int64_t chunks = (steps + index.steps_per_shard - 1) / index.steps_per_shard;
  for (int64_t number = 0; number < chunks * index.parts; ++number) {
    std::error_code ignored;
    const std::string name = index.shard_name(index.shard(number));
    if (std::filesystem::exists(dir + "/" + name, ignored)) continue;
    if (++missing.count <= 4) missing.first.push_back(name);
  }
  return missing;
}

at::Tensor read_store_head(const StoreIndex& index, const std::string& dir) {
  if (index.payload.kind != Payload::kHidden) return {};
  const std::string path = dir + "/" + kStoreHeadFile;
  const std::string remedy = "; make it again with '" + mend_command(index, dir) + "'";
  std::error_code ignored;
  TORCH_CHECK_VALUE(std::filesystem::is_regular_file(path, ignored), path, ": no such file",
                    remedy);
  const std::string found = file_checksum(path);
  TORCH_CHECK_VALUE(found == index.head, path, ": damaged: its checksum is ", found, " and ",
                    kStoreIndexFile, " has ", index.head, remedy);
  const SafetensorsFile file(path);
  TORCH_CHECK_VALUE(
      file.contains("head") && at::isFloatingType(file.dtype("head")) &&
          file.shape("head") == std::vector<int64_t>({index.payload.vocab, index.payload.width}),
      path, ": holds no head of ", index.payload.vocab, " x ", index.payload.width, remedy);
  return file.tensor("head").clone();  // (V, C)
}

}  // namespace temper
