#include "teacher/recording_soft_targets.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <utility>

#include "teacher/payload_rows.h"
#include "teacher/store_fit.h"

namespace temper {

RecordingSoftTargets::RecordingSoftTargets(std::unique_ptr<SoftTargetSource> inner,
                                           StoreIndex index, std::string dir, int64_t part,
                                           int64_t first_step)
    : inner_(std::move(inner)),
      index_(std::move(index)),
      dir_(std::move(dir)),
      part_(part),
      first_step_(first_step),
      row_(static_cast<size_t>(index_.row_bytes())) {}

SoftTargets RecordingSoftTargets::targets(const MicroBatchId& id, const at::Tensor& tokens) {
  SoftTargets result = inner_->targets(id, tokens);
  try {
    record(id, tokens);
  } catch (const c10::Error& error) {
    TORCH_CHECK(
        false, "--teacher.tee: ", error.what_without_backtrace(),
        "; the run ends here, the shards that are complete stay. The rest can be made with '",
        mend_command(index_, dir_), "'");
  }
  return result;
}

void RecordingSoftTargets::record(const MicroBatchId& id, const at::Tensor& tokens) {
  const PayloadView view = inner_->payload();
  const int64_t first = id.step * index_.batch + id.first_row;
  for (int64_t row = 0; row < id.rows; ++row) {
    const RowPlace place = index_.place(first + row);
    ++rows_;
    if (writer_ == nullptr && place.row > 0 && begun_before(place.shard)) continue;
    if (writer_ == nullptr) writer_ = std::make_unique<ShardWriter>(index_, dir_, place.shard);
    TORCH_INTERNAL_ASSERT(place.shard.part == part_ && place.row == writer_->rows(),
                          "a student asked for step ", id.step, ", row ", id.first_row + row,
                          " out of turn");
    take_row(view, index_.payload, row, index_.seq, row_.data());
    writer_->add(hash_tokens(tokens.narrow(0, row, 1)), row_.data());
    if (!writer_->complete()) continue;
    writer_->commit();
    writer_.reset();
  }
}

bool RecordingSoftTargets::begun_before(const ShardId& shard) const {
  return shard.chunk * index_.steps_per_shard < first_step_;
}

void RecordingSoftTargets::finish() const {
  const int64_t own =
      share(index_.batch, static_cast<int>(part_), static_cast<int>(index_.parts)).size();
  const int64_t steps = index_.steps - first_step_;
  TORCH_CHECK(writer_ == nullptr && rows_ == own * steps, "--teacher.tee ", dir_, ": only ", rows_,
              " of ", own * steps, " rows of part ", part_, " were recorded");
}

}  // namespace temper
