// The store: what is written is read again, bit for bit, and only where it belongs.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "teacher/recorder.h"
#include "teacher/store_fit.h"
#include "teacher/store_shard.h"
#include "teacher/stored_soft_targets.h"
#include "tests/launch/launcher.h"
#include "tests/teacher/store_example.h"

namespace temper {
namespace {

/// The bytes of a view's part, or nothing.
std::string bytes_of(const at::Tensor& part) {
  if (!part.defined()) return {};
  const at::Tensor dense = part.contiguous();
  return {static_cast<const char*>(dense.const_data_ptr()), dense.nbytes()};
}

TEST(StoreTest, EveryPayloadComesBackBitForBit) {
  for (const Payload kind : {Payload::kFull, Payload::kHidden, Payload::kTopk, Payload::kSample}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf, at::kByte}) {
      const ScratchDir dir;
      const StoreIndex index = example_index(example_spec(kind, dtype));
      write_example(index, dir.path());
      const StoreIndex read = read_store_index(dir.path());
      EXPECT_EQ(to_json(read).dump(), to_json(index).dump());
      // The run has another batch than the recording, and uneven micro-batches.
      const Replay replay{.batch = 7, .seed = 11, .order = {index.rows(), 11}};
      const at::Tensor head =
          kind == Payload::kHidden ? at::zeros({256, 10}) : at::Tensor();  // (V, C)
      StoredSoftTargets source(read, dir.path(), replay, head);
      int64_t rows_read = 0;
      for (int64_t step = 0; step < 5; ++step) {
        for (const auto& [first, rows] : std::vector<std::pair<int64_t, int64_t>>{{0, 4}, {4, 3}}) {
          const int64_t recorded = step * 7 + first;
          source.targets({step, first, rows}, example_tokens(index, recorded, rows));
          const PayloadView view = source.payload();
          for (int64_t row = 0; row < rows; ++row) {
            const PayloadView wanted(example_row(index, recorded + row), index.payload, index.seq);
            const auto same = [&](const at::Tensor& got, const at::Tensor& want) {
              ASSERT_EQ(got.defined(), want.defined());
              if (!got.defined()) return;
              EXPECT_EQ(bytes_of(got.narrow(0, row * index.seq, index.seq)), bytes_of(want));
            };
            same(view.scalars, wanted.scalars);
            same(view.values, wanted.values);
            same(view.ids, wanted.ids);
            ++rows_read;
          }
        }
      }
      EXPECT_EQ(rows_read, index.rows());
      EXPECT_GT(source.take_bytes(), 0);
      EXPECT_EQ(source.take_bytes(), 0);
    }
  }
}

TEST(StoreTest, EveryRowHasAPlaceOfItsOwn) {
  StoreIndex index = topk_index();
  for (const auto& [steps, batch, parts, per_shard] : std::vector<std::array<int64_t, 4>>{
           {7, 5, 2, 3}, {4, 12, 5, 1}, {3, 3, 3, 3}, {9, 1, 1, 4}, {2, 13, 7, 2}}) {
    index.steps = steps;
    index.batch = batch;
    index.parts = parts;
    index.steps_per_shard = per_shard;
    std::set<std::array<int64_t, 3>> seen;
    for (int64_t row = 0; row < index.rows(); ++row) {
      const RowPlace at = index.place(row);
      EXPECT_LT(at.row, index.rows_of(at.shard));
      const RowRange own = share(batch, static_cast<int>(at.shard.part), static_cast<int>(parts));
      EXPECT_GE(row % batch, own.begin);
      EXPECT_LT(row % batch, own.end);
      EXPECT_EQ(at.shard.chunk, row / batch / per_shard);
      seen.insert({at.shard.chunk, at.shard.part, at.row});
    }
    EXPECT_EQ(static_cast<int64_t>(seen.size()), index.rows());
    int64_t rows = 0;
    for (const ShardId& shard : index.shards()) rows += index.rows_of(shard);
    EXPECT_EQ(rows, index.rows());
  }
}

TEST(StoreTest, TheSameRowsGiveTheSameBytes) {
  const ScratchDir one, two;
  const StoreIndex index = topk_index();
  write_example(index, one.path());
  write_example(index, two.path());
  for (const ShardId& shard : index.shards()) {
    const std::string name = index.shard_name(shard);
    EXPECT_EQ(read_text(one / name), read_text(two / name));
  }
}

TEST(StoreTest, OtherTokensAreRefusedNamingStepRowAndHashes) {
  const ScratchDir dir;
  const StoreIndex index = topk_index();
  write_example(index, dir.path());
  const Replay replay{.batch = 5, .seed = 11, .order = {index.rows(), 11}};
  StoredSoftTargets source(index, dir.path(), replay, {});
  at::Tensor tokens = example_tokens(index, 16, 4).clone();
  tokens[2][0] += 1;
  const std::string words = refusal([&] { source.targets({3, 1, 4}, tokens); });
  EXPECT_NE(words.find("step 3, row 3"), std::string::npos) << words;
  char hash[20];
  std::snprintf(hash, sizeof hash, "%016llx",
                static_cast<unsigned long long>(hash_tokens(tokens.narrow(0, 2, 1))));
  EXPECT_NE(words.find(std::string("hash is ") + hash + " here"), std::string::npos) << words;
}

TEST(StoreTest, ASecondPassReadsTheRowsInItsOwnOrder) {
  const ScratchDir dir;
  const StoreIndex index = topk_index();
  write_example(index, dir.path());
  const ReplayOrder order{index.rows(), 11};
  StoredSoftTargets source(index, dir.path(), {.batch = 5, .seed = 11, .order = order}, {});
  for (int64_t place = 35; place < 70; ++place) {
    const int64_t row = order.row(11, place);
    source.targets({place / 5, place % 5, 1}, example_tokens(index, row, 1));
    const PayloadView wanted(example_row(index, row), index.payload, index.seq);
    EXPECT_EQ(bytes_of(source.payload().values), bytes_of(wanted.values));
  }
}

TEST(StoreTest, ARunThatDoesNotFitIsRefusedByField) {
  const StoreIndex store = topk_index();
  const auto words = [&](const std::function<void(StoreIndex&)>& change) {
    StoreIndex run = store;
    change(run);
    return refusal([&] { check_replay_fits(store, run, "DIR"); });
  };
  EXPECT_EQ(words([](StoreIndex&) {}), "");
  // Any batch, steps, students and teacher.
  EXPECT_EQ(words([](StoreIndex& run) {
              run.batch = 3;
              run.steps = 100;
              run.parts = 9;
              run.teacher = "";
              run.tokenizer = "";
            }),
            "");
  const auto expect = [&](const std::string& text, const std::function<void(StoreIndex&)>& change) {
    const std::string got = words(change);
    EXPECT_NE(got.find("--teacher.store DIR does not fit this run: " + text), std::string::npos)
        << got;
  };
  expect("temperature is 2.5 in the store and 4 here; give --teacher.temperature 2.5",
         [](StoreIndex& run) { run.temperature = 4; });
  expect(
      "vocabulary is 256 in the store and 300 here; read the data that it was recorded from "
      "(example data)",
      [](StoreIndex& run) { run.payload.vocab = 300; });
  expect("data is bbbbbbbbbbbbbbbb in the store and dddddddddddddddd here; read the data",
         [](StoreIndex& run) { run.data = std::string(16, 'd'); });
  expect("tokenizer is cccccccccccccccc in the store and dddddddddddddddd here",
         [](StoreIndex& run) { run.tokenizer = std::string(16, 'd'); });
  expect("seed is 11 in the store and 12 here; give --run.seed 11",
         [](StoreIndex& run) { run.seed = 12; });
  expect("seq is 6 in the store and 8 here; give --train.seq 6",
         [](StoreIndex& run) { run.seq = 8; });
  expect("payload is topk in the store and full here; give --teacher.payload topk",
         [](StoreIndex& run) { run.payload.kind = Payload::kFull; });
  expect("entries is 5 in the store and 6 here; give --teacher.topk 5",
         [](StoreIndex& run) { run.payload.entries = 6; });
  expect("values is bf16 in the store and fp32 here; give --teacher.values bf16",
         [](StoreIndex& run) { run.payload.dtype = at::kFloat; });
}

TEST(StoreTest, AnotherStoreInTheFolderIsRefusedByField) {
  const StoreIndex store = topk_index();
  for (const auto& [field, change] :
       std::vector<std::pair<std::string, std::function<void(StoreIndex&)>>>{
           {"precision", [](StoreIndex& index) { index.precision = "bf16"; }},
           {"teacher", [](StoreIndex& index) { index.teacher = "x"; }},
           {"steps", [](StoreIndex& index) { index.steps = 8; }},
           {"batch", [](StoreIndex& index) { index.batch = 6; }},
           {"parts", [](StoreIndex& index) { index.parts = 3; }},
           {"micro_batch", [](StoreIndex& index) { index.micro_batch = 1; }},
           {"steps_per_shard", [](StoreIndex& index) { index.steps_per_shard = 2; }},
           {"compression", [](StoreIndex& index) { index.compression = 9; }},
           {"temperature", [](StoreIndex& index) { index.temperature = 1; }},
           {"seed", [](StoreIndex& index) { index.seed = 1; }},
           {"temper", [](StoreIndex& index) { index.temper = "9"; }}}) {
    StoreIndex wanted = store;
    change(wanted);
    EXPECT_NE(store.fingerprint(), wanted.fingerprint()) << field;
    const std::string words =
        refusal([&] { check_same_store(store, wanted, "DIR", "--record.store"); });
    EXPECT_NE(words.find("--record.store DIR holds another store: " + field + " is "),
              std::string::npos)
        << words;
  }
  // A run that records has students, and no option for parts.
  StoreIndex wanted = store;
  wanted.parts = 3;
  const std::string words =
      refusal([&] { check_same_store(store, wanted, "DIR", "--teacher.tee"); });
  EXPECT_NE(words.find("start as many student ranks, " + std::to_string(store.parts)),
            std::string::npos)
      << words;
  EXPECT_EQ(words.find("--record."), std::string::npos) << words;
}

TEST(StoreTest, TheUsualShardIsAbout64MiBOfAnyNumbers) {
  StoreIndex index = topk_index();
  index.payload.kind = Payload::kFull;
  index.payload.vocab = 256;
  index.payload.dtype = at::kFloat;
  index.steps = 1000;
  index.batch = 6;
  index.parts = 2;
  index.seq = 32;
  // 64 MiB / (3 rows · 32 tokens · 1024 bytes) = 682.7
  EXPECT_EQ(usual_steps_per_shard(index), 682);
  index.steps = 10;
  EXPECT_EQ(usual_steps_per_shard(index), 10);
  index.batch = int64_t{1} << 47;  // 2^47 / 2 · 32 · 1024 bytes are no int64_t any more
  EXPECT_EQ(usual_steps_per_shard(index), 1);
  index.batch = index.seq = INT64_MAX;
  EXPECT_EQ(usual_steps_per_shard(index), 1);
}

TEST(StoreTest, AnIndexThatCannotBeIsRefusedByField) {
  const nlohmann::json good = nlohmann::json::parse(to_json(topk_index()).dump());
  const auto words = [&](const std::string& field, const nlohmann::json& value) {
    nlohmann::json bad = good;
    bad[nlohmann::json::json_pointer(field)] = value;
    return refusal([&] { store_index_from_json(bad, "index.json"); });
  };
  EXPECT_EQ(words("/steps", 7), "");
  for (const auto& [field, value] :
       std::vector<std::pair<std::string, nlohmann::json>>{{"/format", "other"},
                                                           {"/version", 1},
                                                           {"/steps", 0},
                                                           {"/steps", int64_t{1} << 40},
                                                           {"/batch", -1},
                                                           {"/batch", int64_t{1} << 60},
                                                           {"/seq", int64_t{1} << 40},
                                                           {"/parts", 6},
                                                           {"/parts", 0},
                                                           {"/steps_per_shard", 8},
                                                           {"/steps_per_shard", 0},
                                                           {"/compression", 23},
                                                           {"/temperature", 0},
                                                           {"/temperature", "hot"},
                                                           {"/seed", -1},
                                                           {"/payload/kind", "all"},
                                                           {"/payload/vocab", 0},
                                                           {"/payload/vocab", int64_t{1} << 40},
                                                           {"/payload/entries", 300},
                                                           {"/payload/values", "int3"}}) {
    const std::string said = words(field, value);
    EXPECT_TRUE(said.starts_with("index.json: ")) << field << ": " << said;
  }
  for (const auto& item : good.items()) {
    if (std::set<std::string>{"teacher_words", "data_words", "bos_id", "pad_id", "eos_ids",
                              "mend_options", "config"}
            .contains(item.key()))
      continue;
    nlohmann::json bad = good;
    bad.erase(item.key());
    const std::string said = refusal([&] { store_index_from_json(bad, "index.json"); });
    EXPECT_NE(said.find(item.key()), std::string::npos) << item.key() << ": " << said;
  }
  EXPECT_NE(refusal([] { read_store_index("/nowhere"); }).find("/nowhere/index.json: no such"),
            std::string::npos);
}

TEST(StoreTest, OnlyTemporaryFilesOfAStoreAreRemoved) {
  const ScratchDir dir;
  const StoreIndex index = topk_index();
  write_example(index, dir.path());
  const std::vector<std::string> gone = {"shard-000000-0000.soft.tmp.123", "index.json.tmp.9",
                                         "head.safetensors.tmp.77", "config.ini.tmp.5"};
  const std::vector<std::string> kept = {"notes.txt.tmp.3", "shard-000000-0000.soft.tmp.old",
                                         "my.tmp.1"};
  for (const std::string& name : gone) write_text(dir / name, "x");
  for (const std::string& name : kept) write_text(dir / name, "x");
  remove_temporary_files(dir.path());
  for (const std::string& name : gone) EXPECT_FALSE(std::filesystem::exists(dir / name)) << name;
  for (const std::string& name : kept) EXPECT_TRUE(std::filesystem::exists(dir / name)) << name;
  for (const ShardId& shard : index.shards())
    EXPECT_EQ(shard_trouble(index, dir.path(), shard), "");
}

TEST(StoreTest, MissingShardsThatARunNeedsAreNamed) {
  const ScratchDir dir;
  const StoreIndex index = topk_index();
  write_example(index, dir.path());
  EXPECT_EQ(missing_shards(index, dir.path(), index.rows()).count, 0);
  std::filesystem::remove(dir / index.shard_name({1, 0}));
  std::filesystem::remove(dir / index.shard_name({2, 1}));
  const MissingShards both = missing_shards(index, dir.path(), 1000);
  EXPECT_EQ(both.count, 2);
  EXPECT_EQ(both.first,
            (std::vector<std::string>{"shard-000001-0000.soft", "shard-000002-0001.soft"}));
  // 16 rows are the steps 0 to 3, of chunks 0 and 1.
  EXPECT_EQ(missing_shards(index, dir.path(), 16).first,
            (std::vector<std::string>{"shard-000001-0000.soft"}));
  EXPECT_EQ(missing_shards(index, dir.path(), 15).count, 0);
}

}  // namespace
}  // namespace temper
