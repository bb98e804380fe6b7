// Records soft targets while a student learns from them: what came, bit for bit, goes to the
// student's own part of a store.
#pragma once

#include <memory>
#include <string>

#include "comm/soft_targets.h"
#include "teacher/store_index.h"
#include "teacher/store_shard.h"

namespace temper {

class RecordingSoftTargets : public SoftTargetSource {
 public:
  /// Passes on what `inner` gives and writes it as part `part` of the store in `dir`, whose index
  /// is there already. `first_step`: of a run that goes on; a shard that began before it cannot be
  /// completed, and is left out.
  RecordingSoftTargets(std::unique_ptr<SoftTargetSource> inner, StoreIndex index, std::string dir,
                       int64_t part, int64_t first_step = 0);

  /// Throws c10::Error naming path and bytes where the disk does not take them: a store that lacks
  /// rows in silence would be worse than a run that ends.
  SoftTargets targets(const MicroBatchId& id, const at::Tensor& tokens) override;
  PayloadView payload() const override { return inner_->payload(); }
  void progress() override { inner_->progress(); }
  double take_wait_seconds() override { return inner_->take_wait_seconds(); }
  int64_t take_bytes() override { return inner_->take_bytes(); }
  bool replays() const override { return inner_->replays(); }

  /// To be called after the last step. Throws c10::Error where rows are missing.
  void finish() const;

 private:
  void record(const MicroBatchId& id, const at::Tensor& tokens);
  bool begun_before(const ShardId& shard) const;

  std::unique_ptr<SoftTargetSource> inner_;
  StoreIndex index_;
  std::string dir_;
  int64_t part_;
  int64_t first_step_;
  int64_t rows_ = 0;  // seen so far, of all chunks
  std::unique_ptr<ShardWriter> writer_;
  std::vector<unsigned char> row_;
};

}  // namespace temper
