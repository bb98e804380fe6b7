#include "teacher/store_index.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/atomic_file.h"
#include "data/checksum.h"
#include "data/json_input.h"
#include "data/sealed_json.h"
#include "teacher/payload_json.h"

namespace temper {
namespace {

constexpr const char* kFormat = "temper soft targets";
constexpr int64_t kVersion = 2;
constexpr int64_t kShardBytes = int64_t{64} << 20;
constexpr int64_t kMostShards = int64_t{1} << 24;
constexpr int64_t kMostIndexBytes = int64_t{1} << 20;

/// What the bytes of a shard depend on.
nlohmann::ordered_json essence(const StoreIndex& index) {
  nlohmann::ordered_json json;
  json["format"] = kFormat;
  json["version"] = kVersion;
  json["temper"] = index.temper;
  json["teacher"] = index.teacher;
  json["data"] = index.data;
  json["tokenizer"] = index.tokenizer;
  json["payload"] = payload_spec_json(index.payload);
  json["precision"] = index.precision;
  json["temperature"] = index.temperature;
  json["seed"] = index.seed;
  json["steps"] = index.steps;
  json["batch"] = index.batch;
  json["seq"] = index.seq;
  json["parts"] = index.parts;
  json["micro_batch"] = index.micro_batch;
  json["steps_per_shard"] = index.steps_per_shard;
  json["compression"] = index.compression;
  json["head"] = index.head;
  return json;
}

void check_config(const StoreIndex& index, const std::string& dir) {
  const std::string path = dir + "/" + kStoreConfigFile;
  std::error_code ignored;
  if (index.config.empty() || !std::filesystem::exists(path, ignored)) return;
  const std::string found = hex_text(checksum(read_limited_file(path, kMostIndexBytes)));
  TORCH_CHECK_VALUE(found == index.config, path, ": damaged or changed: its checksum is ", found,
                    ", and ", kStoreIndexFile, " says ", index.config,
                    "; put it back, or remove it (only temper record --config needs it)");
}

}  // namespace

int64_t StoreIndex::steps_of(const ShardId& shard) const {
  return std::min(steps_per_shard, steps - shard.chunk * steps_per_shard);
}

int64_t StoreIndex::rows_of(const ShardId& shard) const {
  return steps_of(shard) *
         share(batch, static_cast<int>(shard.part), static_cast<int>(parts)).size();
}

RowPlace StoreIndex::place(int64_t row) const {
  const int64_t step = row / batch, in_batch = row % batch;
  // share() rounds down: the guess is the part or the one before.
  const auto part_rows = [this](int64_t part) {
    return share(batch, static_cast<int>(part), static_cast<int>(parts));
  };
  int64_t part = in_batch * parts / batch;
  while (part_rows(part).end <= in_batch) ++part;
  const RowRange own = part_rows(part);
  RowPlace place;
  place.shard = {step / steps_per_shard, part};
  place.row = step % steps_per_shard * own.size() + in_batch - own.begin;
  return place;
}

std::vector<ShardId> StoreIndex::shards() const {
  std::vector<ShardId> all;
  for (int64_t number = 0; number < shard_count(); ++number) all.push_back(shard(number));
  return all;
}

std::string StoreIndex::shard_name(const ShardId& shard) const {
  char name[64];
  std::snprintf(name, sizeof name, "shard-%06lld-%04lld.soft", static_cast<long long>(shard.chunk),
                static_cast<long long>(shard.part));
  return name;
}

std::string StoreIndex::fingerprint() const { return hex_text(checksum(essence(*this).dump())); }

void StoreIndex::validate(const std::string& file) const {
  const auto within = [&](const char* name, int64_t value, int64_t least, int64_t most) {
    TORCH_CHECK_VALUE(value >= least && value <= most, file, ": ", name, " is ", value, ", not ",
                      least, " to ", most, "; this is no store that temper wrote");
  };
  validate_payload_spec(payload, file);
  TORCH_CHECK_VALUE(std::isfinite(temperature) && temperature > 0, file, ": temperature is ",
                    temperature, ", no finite number above 0");
  within("seed", seed, 0, INT64_MAX);
  within("steps", steps, 1, int64_t{1} << 32);
  within("batch", batch, 1, int64_t{1} << 30);
  within("seq", seq, 1, int64_t{1} << 24);
  within("parts", parts, 1, std::min<int64_t>(batch, 1 << 20));
  within("micro_batch", micro_batch, 0, INT64_MAX);
  within("steps_per_shard", steps_per_shard, 1, steps);
  within("compression", compression, 1, 19);
  // Rows of a shard times bytes of a row must be a number that a file can have.
  within("bytes of a row", row_bytes(), 1, int64_t{1} << 40);
  within("rows of a shard", steps_per_shard * (batch / parts + 1), 1, int64_t{1} << 32);
  within("number of shards", chunks(), 1, kMostShards / parts);
}

int64_t usual_steps_per_shard(const StoreIndex& index) {
  // One division after the other: the product of numbers that are not validated yet may be none.
  const int64_t most_rows = (index.batch - 1) / index.parts + 1;
  const int64_t rows = kShardBytes / index.payload.bytes_per_token() / index.seq;
  return std::clamp<int64_t>(rows / most_rows, 1, index.steps);
}

nlohmann::ordered_json to_json(const StoreIndex& index) {
  nlohmann::ordered_json json = essence(index);
  json["teacher_words"] = index.teacher_words;
  json["data_words"] = index.data_words;
  json["bos_id"] = index.bos_id;
  json["pad_id"] = index.pad_id;
  json["eos_ids"] = index.eos_ids;
  json["mend_options"] = index.mend_options;
  json["config"] = index.config;
  return json;
}

StoreIndex store_index_from_json(const nlohmann::json& json, const std::string& file) {
  const JsonFields fields(json, file);
  if (fields.text("format") != kFormat)
    fields.refuse("format", std::string("a store of soft targets says '") + kFormat + "'");
  if (fields.integer("version") != kVersion)
    fields.refuse("version", "this temper reads version " + std::to_string(kVersion));
  StoreIndex index;
  index.temper = fields.text("temper");
  index.teacher = fields.text("teacher");
  index.data = fields.text("data");
  index.tokenizer = fields.text("tokenizer");
  index.payload = payload_spec_from_json(fields.object("payload"), file);
  index.precision = fields.text("precision");
  index.temperature = fields.number("temperature");
  index.seed = fields.integer("seed");
  index.steps = fields.integer("steps");
  index.batch = fields.integer("batch");
  index.seq = fields.integer("seq");
  index.parts = fields.integer("parts");
  index.micro_batch = fields.integer("micro_batch");
  index.steps_per_shard = fields.integer("steps_per_shard");
  index.compression = fields.integer("compression");
  index.head = fields.text("head");
  index.teacher_words = fields.text("teacher_words", "");
  index.data_words = fields.text("data_words", "");
  index.bos_id = fields.integer("bos_id", -1);
  index.pad_id = fields.integer("pad_id", -1);
  index.eos_ids = fields.integers("eos_ids");
  index.mend_options = fields.text("mend_options", "");
  index.config = fields.text("config", "");
  index.validate(file);
  return index;
}

bool has_store_index(const std::string& dir) {
  std::error_code ignored;
  return std::filesystem::exists(dir + "/" + kStoreIndexFile, ignored);
}

StoreIndex read_store_index(const std::string& dir) {
  const std::string file = dir + "/" + kStoreIndexFile;
  TORCH_CHECK_VALUE(has_store_index(dir), file,
                    ": no such file; name a folder that temper record or --teacher.tee wrote");
  StoreIndex index = store_index_from_json(read_sealed_json_file(file, kMostIndexBytes), file);
  check_config(index, dir);
  return index;
}

void write_store_index(const std::string& dir, const StoreIndex& index) {
  write_text_file(dir + "/" + kStoreIndexFile, sealed_json_text(to_json(index)));
}

}  // namespace temper
