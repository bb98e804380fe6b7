// Soft targets from a store: what a student learns from where no teacher runs. Any number of
// students, any micro-batch and any number of passes read the same store.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "comm/soft_targets.h"
#include "data/replay_corpus.h"
#include "teacher/store_index.h"
#include "teacher/store_shard.h"

namespace temper {

/// Which rows a run reads of a store.
struct Replay {
  int64_t batch = 0;  ///< rows per step of the run, which may differ from the recording's
  uint64_t seed = 0;  ///< of the run's data
  ReplayOrder order;
};

class StoredSoftTargets : public SoftTargetSource {
 public:
  /// `index` is that of the store in `dir`; `head` (V, C) its head for the payload hidden,
  /// otherwise undefined.
  StoredSoftTargets(StoreIndex index, std::string dir, const Replay& replay, at::Tensor head);

  /// `tokens` must be those that the rows were recorded with: their hashes are compared. A shard is
  /// checked when its first row is asked for. Throws c10::ValueError that names the shard and the
  /// command that makes it again, or step, row and both hashes.
  SoftTargets targets(const MicroBatchId& id, const at::Tensor& tokens) override;
  PayloadView payload() const override { return view_; }
  double take_wait_seconds() override;
  int64_t take_bytes() override;
  bool replays() const override { return true; }

 private:
  const ShardReader& shard(const ShardId& id);
  void read(const RowPlace& place, int64_t row);

  StoreIndex index_;
  std::string dir_;
  Replay replay_;
  at::Tensor head_;    // (V, C)
  at::Tensor buffer_;  // (bytes), kept from call to call
  PayloadView view_;
  std::vector<unsigned char> row_;
  std::map<std::pair<int64_t, int64_t>, ShardReader> open_;  // by (chunk, part)
  double wait_seconds_ = 0;
  int64_t bytes_ = 0;
};

struct MissingShards {
  int64_t count = 0;
  std::vector<std::string> first;  ///< names, at most four
};
/// The shards that a run of `rows` rows reads and that are not in `dir`.
MissingShards missing_shards(const StoreIndex& index, const std::string& dir, int64_t rows);

/// The head of a store with the payload hidden, (V, C) in the dtype that the teacher had it
/// in; otherwise an undefined tensor. Throws c10::ValueError naming the file where it is missing,
/// damaged or of another shape.
at::Tensor read_store_head(const StoreIndex& index, const std::string& dir);

}  // namespace temper
