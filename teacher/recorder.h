// Makes the shards of a store from a teacher, without students.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "teacher/inference.h"
#include "teacher/store_index.h"

namespace temper {

/// Makes `shard` anew. The teacher takes the micro-batches that it would take of a live run with as
/// many students as the store has parts, so that the bits are the same. `progress` is called after
/// each micro-batch with its rows and the bytes that the file has grown by. Throws c10::Error
/// naming path, bytes and reason where the disk does not take them.
void record_shard(const TeacherInference& inference, const Corpus& corpus, const StoreIndex& index,
                  const std::string& dir, const ShardId& shard,
                  const std::function<void(int64_t rows, int64_t bytes)>& progress);

/// What is wrong with a shard, as "FILE: REASON"; empty: nothing.
std::string shard_trouble(const StoreIndex& index, const std::string& dir, const ShardId& shard);

/// Writes `head` (V, C) as DIR/head.safetensors, but keeps a file there with the checksum
/// `expected`. Returns the checksum.
std::string write_store_head(const at::Tensor& head, const std::string& dir,
                             const std::string& expected);

/// Removes what interrupted writers of a store left in `dir` under temporary names; nobody may be
/// writing to it. Other files are not touched.
void remove_temporary_files(const std::string& dir);

}  // namespace temper
