// A store of recorded soft targets is a folder:
//
//   index.json          what the store is made of; written before the first shard; ends with its
//   checksum head.safetensors    the teacher's head, for the payload hidden only config.ini the
//   options that made it, for `temper record` to mend it shard-C-P.soft      steps [C·K, (C + 1)·K)
//   of part P
//
// The recorded rows are the training rows of the data in the order of the run: row = step · batch +
// row of the batch. A part is what one student reads, or would read: share(batch, P, parts). So
// which shards there are, and which rows lie where in them, is a function of the index alone: two
// stores of the same index are the same byte for byte, and whoever reads one shard needs no other.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "comm/payload.h"
#include "comm/placement.h"

namespace temper {

/// Names one file of a store.
struct ShardId {
  int64_t chunk = 0;  ///< of steps
  int64_t part = 0;
  bool operator==(const ShardId&) const = default;
};

/// Where a recorded row lies.
struct RowPlace {
  ShardId shard;
  int64_t row = 0;  ///< within the shard
};

struct StoreIndex {
  // What the recorded rows are a function of.
  std::string temper;     ///< version of the program
  std::string teacher;    ///< fingerprint(Transformer) of model/fingerprint.h
  std::string data;       ///< Corpus::fingerprint(), 16 hexadecimal digits
  std::string tokenizer;  ///< of the data's tokenizer, 16 digits; empty where it is not known
  PayloadSpec payload;
  std::string precision;  ///< of the teacher's matrix products: fp32 or bf16
  double temperature = 1;
  int64_t seed = 0;  ///< of the data's order and of draws
  int64_t steps = 0;
  int64_t batch = 0;  ///< rows per step
  int64_t seq = 0;    ///< tokens per row
  // How they were made and are kept.
  int64_t parts = 1;
  int64_t micro_batch = 0;      ///< rows that the teacher took at once; 0: a part's whole share
  int64_t steps_per_shard = 1;  ///< K
  int64_t compression = 1;      ///< level of zstd
  std::string head;             ///< checksum of head.safetensors; empty: there is none
  // For people, and for a student that is made without the teacher at hand.
  std::string teacher_words;
  std::string data_words;
  int64_t bos_id = -1, pad_id = -1;  ///< of the teacher; -1: it has none
  std::vector<int64_t> eos_ids;
  std::string mend_options;  ///< what `temper record --config DIR/config.ini` needs besides
  std::string config;        ///< checksum of config.ini; empty: there is none

  int64_t rows() const { return steps * batch; }
  int64_t row_bytes() const { return seq * payload.bytes_per_token(); }
  int64_t chunks() const { return (steps + steps_per_shard - 1) / steps_per_shard; }
  int64_t steps_of(const ShardId& shard) const;
  int64_t rows_of(const ShardId& shard) const;
  /// Of the recorded row `row` in [0, rows()).
  RowPlace place(int64_t row) const;
  int64_t shard_count() const { return chunks() * parts; }
  /// In the order of steps.
  ShardId shard(int64_t number) const { return {number / parts, number % parts}; }
  /// All shards, none of them empty.
  std::vector<ShardId> shards() const;
  std::string shard_name(const ShardId& shard) const;
  /// Changes with anything that the bytes of a shard depend on: 32 hexadecimal digits.
  std::string fingerprint() const;

  /// Throws c10::ValueError "FILE: FIELD is VALUE; REMEDY" where no store can be so.
  void validate(const std::string& file) const;
};

/// Steps per shard, so that a part's share of them takes about 64 MiB before compression. Of the
/// index no more is needed than a valid payload, and numbers of at least 1.
int64_t usual_steps_per_shard(const StoreIndex& index);

nlohmann::ordered_json to_json(const StoreIndex& index);
StoreIndex store_index_from_json(const nlohmann::json& json, const std::string& file);

/// DIR/index.json, whose checksum and that of DIR/config.ini are right (config.ini may be gone).
/// Throws c10::ValueError naming the file, the field and the remedy.
StoreIndex read_store_index(const std::string& dir);
bool has_store_index(const std::string& dir);
void write_store_index(const std::string& dir, const StoreIndex& index);

inline constexpr const char* kStoreIndexFile = "index.json";
inline constexpr const char* kStoreHeadFile = "head.safetensors";
inline constexpr const char* kStoreConfigFile = "config.ini";

}  // namespace temper
