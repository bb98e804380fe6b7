// One shard of a store: the soft targets of some rows, each compressed by itself, so that any row
// is read without the others.
//
//   header, 64 bytes | one zstd frame a row | table: rows × 24 bytes | end, 32 bytes
//
// The table gives of each row where its frame begins, how long it is, and the hash of its token
// ids. The end holds where the table begins and the XXH3-128 of every byte before it, so that one
// flipped bit anywhere is found. Numbers are little-endian.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/atomic_file.h"
#include "data/checksum.h"
#include "data/mapped_file.h"
#include "teacher/store_index.h"

struct ZSTD_CCtx_s;

namespace temper {

/// Of one row.
struct ShardEntry {
  uint64_t offset = 0;      ///< of its frame, from the start of the file
  uint64_t bytes = 0;       ///< of its frame
  uint64_t token_hash = 0;  ///< hash_tokens() of its token ids
};
static_assert(sizeof(ShardEntry) == 24);

/// Writes a shard. It appears with commit(), whole, or not at all. The same rows give the same
/// bytes.
class ShardWriter {
 public:
  /// Throws c10::Error naming path and reason.
  ShardWriter(const StoreIndex& index, const std::string& dir, const ShardId& shard);
  ~ShardWriter();
  ShardWriter(const ShardWriter&) = delete;
  ShardWriter& operator=(const ShardWriter&) = delete;

  /// The next row: row_bytes() bytes, as take_row() gives them. Throws c10::Error naming path,
  /// bytes and reason where the disk does not take them.
  void add(uint64_t token_hash, const unsigned char* bytes);
  int64_t rows() const { return static_cast<int64_t>(table_.size()); }
  bool complete() const { return rows() == rows_; }
  /// So far.
  int64_t file_bytes() const { return static_cast<int64_t>(offset_); }
  /// To be called once all rows are there.
  void commit();

 private:
  void write(const void* data, size_t bytes);

  int64_t rows_;
  size_t row_bytes_;
  AtomicFile file_;
  Checksum checksum_;
  uint64_t offset_ = 0;
  std::vector<ShardEntry> table_;
  std::vector<char> frame_;
  ZSTD_CCtx_s* zstd_;
};

/// Reads a shard and trusts nothing in it.
class ShardReader {
 public:
  /// Maps the file and checks all of it but what is inside the frames (the checksum covers that).
  /// Throws c10::ValueError "FILE: REASON" where it is missing, damaged, or of another store.
  ShardReader(const StoreIndex& index, const std::string& dir, const ShardId& shard);

  uint64_t token_hash(int64_t row) const { return entry(row).token_hash; }
  /// Of the row's frame.
  int64_t frame_bytes(int64_t row) const { return static_cast<int64_t>(entry(row).bytes); }
  int64_t file_bytes() const { return static_cast<int64_t>(file_.bytes().size()); }
  /// Writes row_bytes() bytes to `out`. Throws c10::ValueError naming the file and the row.
  void read(int64_t row, unsigned char* out) const;

 private:
  ShardEntry entry(int64_t row) const;

  std::string path_;
  MappedFile file_;
  int64_t rows_;
  size_t row_bytes_;
  uint64_t table_ = 0;  // where it begins
};

}  // namespace temper
