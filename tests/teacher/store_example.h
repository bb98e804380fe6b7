// A small store with random soft targets, for tests.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "comm/soft_targets.h"
#include "teacher/store_index.h"

namespace temper {

PayloadSpec example_spec(Payload kind, at::ScalarType dtype);

/// 7 steps of 5 rows of 6 tokens in 2 parts, 3 steps a shard.
StoreIndex example_index(const PayloadSpec& spec);

/// Of the payload topk with bf16 values.
StoreIndex topk_index();

/// The token ids (B, S) of recorded rows [first, first + count).
at::Tensor example_tokens(const StoreIndex& index, int64_t first, int64_t count);

/// The payload of one recorded row: (bytes), laid out as a message of one row.
at::Tensor example_row(const StoreIndex& index, int64_t row);

/// Writes index and shards.
void write_example(const StoreIndex& index, const std::string& dir);

/// Writes one shard.
void write_example_shard(const StoreIndex& index, const std::string& dir, const ShardId& shard);

/// What `use` throws as a c10::ValueError; empty: it throws nothing.
template <typename Use>
std::string refusal(const Use& use);

}  // namespace temper

#include <c10/util/Exception.h>

template <typename Use>
std::string temper::refusal(const Use& use) {
  try {
    use();
  } catch (const c10::ValueError& error) {
    return error.what_without_backtrace();
  }
  return {};
}
