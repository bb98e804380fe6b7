// Readers of teacher/: a store of soft targets, its index and its shards.
#include <ATen/ATen.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/checksum.h"
#include "teacher/store_fit.h"
#include "teacher/store_shard.h"
#include "tests/fuzz/targets.h"
#include "tests/teacher/store_example.h"

namespace temper {
namespace {

/// All that an index promises is worked out.
void use_index(const std::string& dir) {
  const StoreIndex index = read_store_index(dir);
  for (const int64_t row : {int64_t{0}, index.rows() / 2, index.rows() - 1}) {
    const RowPlace place = index.place(row);
    index.rows_of(place.shard);
    index.shard_name(place.shard);
  }
  index.shard(index.shard_count() - 1);
  index.fingerprint();
  to_json(index).dump();
  mend_command(index, dir);
}

/// Every row is read.
void use_shard(const StoreIndex& index, const std::string& dir, const ShardId& shard) {
  const ShardReader reader(index, dir, shard);
  std::vector<unsigned char> row(static_cast<size_t>(index.row_bytes()));
  for (int64_t i = 0; i < index.rows_of(shard); ++i) {
    reader.token_hash(i);
    reader.read(i, row.data());
  }
}

/// The bytes with the checksum that they would have, so that what lies behind it is fuzzed too.
std::string sealed(std::string bytes) {
  constexpr size_t kSealAndMagic = 24;
  if (bytes.size() < kSealAndMagic) return bytes;
  const size_t covered = bytes.size() - kSealAndMagic;
  const ChecksumBytes seal = checksum(std::string_view(bytes).substr(0, covered));
  std::copy(seal.begin(), seal.end(), bytes.begin() + static_cast<int64_t>(covered));
  return bytes;
}

std::vector<std::string> example_indices(const std::string& work) {
  std::vector<std::string> texts;
  for (const Payload kind : {Payload::kFull, Payload::kHidden, Payload::kTopk, Payload::kSample}) {
    write_store_index(work, example_index(example_spec(kind, at::kBFloat16)));
    texts.push_back(file_content(work + "/" + kStoreIndexFile));
  }
  return texts;
}

FuzzReader index_reader(const std::string& work) {
  const std::vector<std::string> seeds = example_indices(work);
  return {seeds,
          [work](const std::string& bytes) {
            write_file(work + "/" + kStoreIndexFile, bytes);
            use_index(work);
          },
          quoted_words(seeds)};
}

FuzzReader sealed_index_reader(const std::string& work) {
  return sealed_json_reader(work + "/" + kStoreIndexFile, example_indices(work),
                            [work] { use_index(work); });
}

std::function<FuzzReader(const std::string&)> shard_reader(bool reseals) {
  return [reseals](const std::string& work) -> FuzzReader {
    const StoreIndex index = example_index(example_spec(Payload::kTopk, at::kBFloat16));
    const ShardId shard{1, 0};
    write_example_shard(index, work, shard);
    const std::string path = work + "/" + index.shard_name(shard);
    return {{file_content(path)},
            [=](const std::string& bytes) {
              write_file(path, reseals ? sealed(bytes) : bytes);
              use_shard(index, work, shard);
            },
            {}};
  };
}

}  // namespace

std::vector<FuzzTarget> store_targets() {
  return {
      {"store_index", index_reader},
      {"store_index_sealed", sealed_index_reader},
      {"shard", shard_reader(/*reseals=*/false)},
      {"shard_sealed", shard_reader(/*reseals=*/true)},
  };
}

}  // namespace temper
