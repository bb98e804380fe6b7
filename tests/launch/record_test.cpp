// Recording and replaying as a user does it: the losses of a replay are those of the live run, bit
// for bit; a recorder that is killed goes on; what is damaged or does not fit is named.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "tests/launch/arguments.h"
#include "tests/launch/killable_job.h"
#include "tests/launch/launcher.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

/// Data, teacher and rows, for distill and record alike.
const Arguments kShared = {
    "--teacher.layers", "2", "--teacher.width", "48", "--teacher.heads", "4", "--train.steps", "8",
    "--train.batch",    "6", "--train.seq",     "32", "--run.threads",   "1", "--run.seed",    "3"};
const Arguments kStudent = {"--student.layers", "1",   "--student.width",       "32",
                            "--student.heads",  "4",   "--train.warmup",        "2",
                            "--loss.alpha",     "0.7", "--evaluate.max-tokens", "256"};

Arguments distill(const std::string& dir, const Arguments& more) {
  return Arguments{"distill", "--run.dir", dir} + kShared + kStudent + more;
}

Arguments record(const std::string& store, const Arguments& more) {
  return Arguments{"record", "--record.store", store} + kShared + more;
}

/// Every loss of a run that must have gone well.
std::vector<double> losses(const Arguments& arguments, int ranks) {
  const Outcome outcome = launch(arguments, ranks);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return outcome.code == 0 ? metric(arguments[2] + "/metrics.jsonl", "loss")
                           : std::vector<double>{};
}

std::map<std::string, std::string> contents(const std::string& dir) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(dir))
    files[entry.path().filename().string()] = read_text(entry.path().string());
  return files;
}

std::vector<std::string> shards(const std::string& dir) {
  std::vector<std::string> names;
  for (const auto& [name, bytes] : contents(dir)) {
    if (name.starts_with("shard-") && name.ends_with(".soft")) names.push_back(name);
  }
  return names;
}

/// The first names that are in one only or differ, for a message.
std::string difference(const std::map<std::string, std::string>& a,
                       const std::map<std::string, std::string>& b) {
  std::string names;
  for (const auto& [name, bytes] : a) {
    if (!b.contains(name) || b.at(name) != bytes) names += name + " ";
  }
  for (const auto& [name, bytes] : b) {
    if (!a.contains(name)) names += name + " (new) ";
  }
  return names;
}

void flip_a_byte(const std::string& path) {
  std::string bytes = read_text(path);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
  write_text(path, bytes);
}

double largest_relative(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (size_t i = 0; i < b.size(); ++i)
    largest = std::max(largest, std::abs(a[i] - b[i]) / std::abs(b[i]));
  return largest;
}

TEST(RecordTest, ReplaysGiveTheLossesOfTheLiveRunBitForBit) {
  for (const Arguments& payload :
       {Arguments{"--teacher.payload", "full"}, Arguments{"--teacher.payload", "hidden"},
        Arguments{"--teacher.payload", "topk", "--teacher.topk", "8"},
        Arguments{"--teacher.payload", "sample"},
        Arguments{"--teacher.payload", "hidden", "--teacher.values", "int8", "--run.precision",
                  "bf16"}}) {
    const ScratchDir scratch;
    const std::string tee = scratch / "tee", alone = scratch / "alone";
    const Arguments rows = payload + Arguments{"--train.micro-batch", "2"};
    // One teacher, two students, of three rows each in micro-batches of two and one.
    const std::vector<double> live = losses(
        distill(scratch / "live", rows + Arguments{"--launch.teachers", "1", "--teacher.tee", tee}),
        3);
    ASSERT_EQ(live.size(), 8u) << payload[1];
    const std::vector<double> replayed =
        losses(distill(scratch / "replay", rows + Arguments{"--teacher.store", tee}), 2);
    EXPECT_EQ(replayed, live) << payload[1];

    // Teachers alone make the same files.
    const Outcome outcome = launch(record(alone, rows + Arguments{"--record.parts", "2"}), 2);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    ASSERT_EQ(shards(alone).size(), 2u);
    EXPECT_EQ(shards(alone), shards(tee));
    for (const std::string& name : shards(alone))
      EXPECT_EQ(read_text(alone + "/" + name), read_text(tee + "/" + name)) << payload[1];
    EXPECT_EQ(losses(distill(scratch / "again", rows + Arguments{"--teacher.store", alone}), 2),
              live)
        << payload[1];
    std::printf("  %-7s live, replay of its tee, replay of a recording: the same bits; %s\n",
                payload[1].c_str(), outcome.out.substr(outcome.out.find("bytes per"), 50).c_str());
  }
}

TEST(RecordTest, AnyNumberOfStudentsReplaysAStore) {
  const ScratchDir scratch;
  const std::string store = scratch / "store";
  const Arguments payload = {"--teacher.payload", "topk", "--teacher.topk", "8"};
  ASSERT_EQ(launch(record(store, payload)).code, 0);
  const std::vector<double> live = losses(distill(scratch / "live", payload), 0);
  ASSERT_EQ(live.size(), 8u);
  const Arguments from_store = payload + Arguments{"--teacher.store", store};
  EXPECT_EQ(losses(distill(scratch / "one", from_store), 0), live);
  for (const auto& [ranks, micro_batch] :
       std::vector<std::pair<int, std::string>>{{1, "4"}, {3, "0"}, {4, "1"}}) {
    const std::vector<double> replayed =
        losses(distill(scratch / ("run" + std::to_string(ranks)),
                       from_store + Arguments{"--train.micro-batch", micro_batch}),
               ranks);
    ASSERT_EQ(replayed.size(), 8u);
    EXPECT_LE(largest_relative(replayed, live), 1e-4) << ranks;
  }
}

TEST(RecordTest, ALongerRunReadsTheStoreAgain) {
  const ScratchDir scratch;
  const std::string store = scratch / "store";
  ASSERT_EQ(launch(record(store, {"--record.steps-per-shard", "3"})).code, 0);
  const Arguments once = {"--teacher.store", store, "--train.lr", "0.01"};
  // Two and a half passes of 48 rows, with another batch; the second half of the losses is lower,
  // since what is learnt was seen before.
  const Arguments longer = once + Arguments{"--train.steps", "30", "--train.batch", "4"};
  const Outcome outcome = launch(distill(scratch / "long", longer), 2);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("48 rows, read 2.5 times"), std::string::npos) << outcome.err;
  const std::vector<double> first = metric(scratch / "long/metrics.jsonl", "loss");
  ASSERT_EQ(first.size(), 30u);
  EXPECT_LT(first.back(), first.front());
  // Deterministic, passes included, and hard labels see the same rows.
  const Arguments compared = longer + Arguments{"--compare.hard-labels", "true"};
  EXPECT_EQ(losses(distill(scratch / "twice", compared), 2), first);
  EXPECT_EQ(metric(scratch / "twice/hard-labels-metrics.jsonl", "tokens"),
            metric(scratch / "twice/metrics.jsonl", "tokens"));
}

// Its hidden states are as wide as the recorded teacher's, whatever [teacher] would make.
TEST(RecordTest, AStoresHiddenStatesAreMatchedWithoutItsTeacher) {
  const ScratchDir scratch;
  const std::string store = scratch / "store";
  const Arguments match = {"--teacher.payload", "hidden", "--loss.hidden-weight", "0.5"};
  const std::vector<double> live =
      losses(distill(scratch / "live", match + Arguments{"--teacher.tee", store}), 0);
  ASSERT_EQ(live.size(), 8u);
  const Arguments no_teacher(kShared.begin() + 6, kShared.end());
  EXPECT_EQ(losses(Arguments{"distill", "--run.dir", scratch / "replay", "--teacher.store", store} +
                       match + no_teacher + kStudent,
                   0),
            live);
}

// Which row comes when is a matter of how many rows were recorded.
TEST(RecordTest, ARunGoesOnWithTheStoreThatItBeganWith) {
  const ScratchDir scratch;
  const std::string store = scratch / "store", longer = scratch / "longer", dir = scratch / "run";
  ASSERT_EQ(launch(record(store, {})).code, 0);
  Arguments twice = record(longer, {});
  twice[static_cast<size_t>(std::find(twice.begin(), twice.end(), "--train.steps") -
                            twice.begin()) +
        1] = "16";
  ASSERT_EQ(launch(twice).code, 0);
  const auto job = [&](const std::string& from) {
    Arguments arguments = distill(
        dir, {"--teacher.store", from, "--run.resume", "auto", "--train.checkpoint-every", "5"});
    arguments[static_cast<size_t>(std::find(arguments.begin(), arguments.end(), "--train.steps") -
                                  arguments.begin()) +
              1] = "20";
    return arguments;
  };
  ASSERT_EQ(launch(job(store)).code, 0);
  for (const char* later : {"checkpoints/step-00000020", "stages", "summary.json"})
    fs::remove_all(dir + "/" + later);
  const Outcome outcome = launch(job(longer));
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  EXPECT_NE(outcome.err.find("manifest.json: teacher is "), std::string::npos) << outcome.err;
  EXPECT_EQ(launch(job(store)).code, 0);
}

TEST(RecordTest, ARecorderThatIsKilledGoesOnToTheSameBytes) {
  const ScratchDir scratch;
  const std::string store = scratch / "store";
  // 80 files of 4 steps.
  const Arguments command =
      record(store, {"--train.steps", "320", "--record.steps-per-shard", "4", "--teacher.payload",
                     "topk", "--teacher.width", "96", "--record.compression", "9"});
  const Outcome undisturbed = launch(command, 2);
  ASSERT_EQ(undisturbed.code, 0) << undisturbed.err;
  const std::map<std::string, std::string> wanted = contents(store);
  ASSERT_EQ(shards(store).size(), 80u);
  std::mt19937 random(20241);
  int under_way = 0;
  for (int round = 0; round < 3; ++round) {
    fs::remove_all(store);
    for (int attempt = 0; attempt < 2; ++attempt) {
      const size_t before = fs::exists(store) ? shards(store).size() : 0;
      KillableJob job(command, scratch / "log");
      // Somewhere between the start and the last file.
      const size_t until =
          std::uniform_int_distribution<size_t>(before, std::min<size_t>(before + 30, 75))(random);
      while (job.running() && (!fs::exists(store) || shards(store).size() < until))
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      std::this_thread::sleep_for(
          std::chrono::milliseconds(std::uniform_int_distribution<int>(0, 40)(random)));
      const bool was_running = job.running();
      if (attempt == 0) {
        job.kill_all();
      } else {
        job.kill_one();
      }
      const size_t after = fs::exists(store) ? shards(store).size() : 0;
      if (was_running && after < 80) ++under_way;
      size_t temporary = 0;
      for (const auto& [name, bytes] : contents(store)) {
        temporary += name.find(".tmp.") != std::string::npos;
        // What is there under its name is whole.
        if (name.starts_with("shard-") && name.ends_with(".soft")) {
          EXPECT_EQ(bytes, wanted.at(name));
        }
      }
      std::printf("  round %d: killed with %zu of 80 files, %zu temporary\n", round, after,
                  temporary);
    }
    const Outcome outcome = launch(command, 2);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(difference(contents(store), wanted), "");
  }
  EXPECT_GE(under_way, 4);
}

TEST(RecordTest, ADamagedOrMissingShardIsNamedAndMadeAgainAlone) {
  const ScratchDir scratch;
  const std::string store = scratch / "store";
  // Recorded while training a student, with a teacher that was trained in the same run.
  const Arguments live = distill(
      scratch / "live", {"--launch.teachers", "1", "--teacher.tee", store, "--teacher.train-steps",
                         "3", "--teacher.payload", "hidden", "--train.micro-batch", "2"});
  const std::vector<double> wanted_losses = losses(live, 3);
  const std::map<std::string, std::string> wanted = contents(store);
  const std::vector<std::string> names = shards(store);
  ASSERT_EQ(names.size(), 2u);
  flip_a_byte(store + "/" + names[1]);
  const fs::file_time_type untouched = fs::last_write_time(store + "/" + names[0]);

  const Arguments replay = distill(
      scratch / "replay",
      {"--teacher.store", store, "--teacher.payload", "hidden", "--train.micro-batch", "2"});
  const Outcome refused = launch(replay, 2);
  EXPECT_EQ(refused.code, 2);
  const std::string mend = "temper record --config " + store + "/config.ini --record.store " +
                           store + " --teacher.path " + (scratch / "live") +
                           "/teacher --teacher.train-steps 0";
  EXPECT_NE(refused.err.find(store + "/" + names[1] + ": damaged"), std::string::npos)
      << refused.err;
  EXPECT_NE(refused.err.find(mend), std::string::npos) << refused.err;

  // Just the command that the message gives.
  const Arguments mending = {
      "record", "--config",       store + "/config.ini",    "--record.store",
      store,    "--teacher.path", scratch / "live/teacher", "--teacher.train-steps",
      "0"};
  Outcome mended = launch(mending, 2);
  EXPECT_EQ(mended.code, 0) << mended.err;
  EXPECT_NE(mended.err.find(names[1] + ": damaged"), std::string::npos) << mended.err;
  EXPECT_EQ(difference(contents(store), wanted), "");
  EXPECT_EQ(fs::last_write_time(store + "/" + names[0]), untouched);

  fs::remove(store + "/" + names[0]);
  fs::remove(store + "/head.safetensors");
  const Outcome missing = launch(replay + Arguments{"--run.overwrite", "true"}, 2);
  EXPECT_EQ(missing.code, 2);
  EXPECT_NE(missing.err.find("1 of its 2 shards are missing (" + names[0] + ")"), std::string::npos)
      << missing.err;
  EXPECT_NE(missing.err.find(mend), std::string::npos) << missing.err;
  mended = launch(mending);
  EXPECT_EQ(mended.code, 0) << mended.err;
  EXPECT_EQ(difference(contents(store), wanted), "");
  EXPECT_EQ(losses(replay + Arguments{"--run.overwrite", "true"}, 2), wanted_losses);
}

TEST(RecordTest, WhatDoesNotFitIsRefusedByFieldBeforeTheFirstStep) {
  const ScratchDir scratch;
  const std::string store = scratch / "store", text = scratch / "text";
  for (const char* name : {"a", "b"}) {
    std::ofstream file(text + name);
    for (int i = 0; i < 4000; ++i) file << name << ' ' << i * 7919 % 1000 << " of some text\n";
  }
  const Arguments data = {"--data.source", "text", "--data.text", text + "a"};
  ASSERT_EQ(launch(record(store, data)).code, 0);
  const auto refused = [&](const std::string& words, const Arguments& more, int ranks = 0) {
    const std::string run = scratch / "run";
    const Outcome outcome =
        launch(distill(run, data + Arguments{"--teacher.store", store} + more), ranks);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
    EXPECT_FALSE(fs::exists(run + "/metrics.jsonl"));
  };
  refused("temperature is 2 in the store and 4 here; give --teacher.temperature 2",
          {"--teacher.temperature", "4"});
  refused("seed is 3 in the store and 4 here; give --run.seed 3", {"--run.seed", "4"});
  refused("seq is 32 in the store and 16 here; give --train.seq 32", {"--train.seq", "16"});
  refused("payload is full in the store and topk here; give --teacher.payload full",
          {"--teacher.payload", "topk"});
  refused("values is fp32 in the store and bf16 here; give --teacher.values fp32",
          {"--run.precision", "bf16"});
  refused("data is ", {"--data.text", text + "b"}, 2);
  refused("vocabulary is 256 in the store and 300 here",
          {"--data.tokenizer", "sentencepiece", "--data.vocab", "300"});
  refused("--launch.teachers is 1, but --teacher.store " + store + " needs no teacher ranks",
          {"--launch.teachers", "1"}, 2);
  refused("exclude each other", {"--teacher.tee", scratch / "other"});
  {
    const Outcome tee =
        launch(distill(scratch / "run", data + Arguments{"--teacher.tee", scratch / "other",
                                                         "--teacher.batch", "8"}));
    EXPECT_EQ(tee.code, 2) << tee.err;
    EXPECT_NE(tee.err.find("give --teacher.batch 0"), std::string::npos) << tee.err;
  }
  refused("--teacher.train-steps is 5, but with --teacher.store", {"--teacher.train-steps", "5"});

  // And the other way: a folder that holds another store is not written to.
  const std::map<std::string, std::string> before = contents(store);
  for (const auto& [words, more] : std::vector<std::pair<std::string, Arguments>>{
           {"teacher is ", {"--teacher.heads", "2"}},
           {"steps is 8 there and 9 here", {"--train.steps", "9"}},
           {"parts is 1 there and 2 here", {"--record.parts", "2"}}}) {
    const Outcome outcome = launch(record(store, data + more), 2);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_NE(outcome.err.find("--record.store " + store + " holds another store: " + words),
              std::string::npos)
        << outcome.err;
  }
  EXPECT_EQ(difference(contents(store), before), "");
  EXPECT_EQ(launch({"record"}).code, 2);
  const Outcome trains = launch(record(scratch / "x", {"--teacher.train-steps", "2"}));
  EXPECT_EQ(trains.code, 2);
  EXPECT_NE(trains.err.find("record trains no teacher"), std::string::npos) << trains.err;
}

TEST(RecordTest, TheDryRunDoesItsArithmetic) {
  const ScratchDir scratch;
  const Outcome outcome =
      launch(record(scratch / "store", {"--dry-run", "--record.parts", "2", "--train.steps", "1000",
                                        "--record.steps-per-shard", "300"}),
             2);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  // 6 rows a step, 32 tokens each, 256 logits in fp32.
  for (const char* words :
       {"1000 steps x 6 sequences = 6000 rows x 32 tokens = 192.0k tokens",
        "1024 bytes per token before compression: 187.5 MiB", "8 shards of 23.4 MiB"})
    EXPECT_NE(outcome.out.find(words), std::string::npos) << outcome.out;
  EXPECT_FALSE(fs::exists(scratch / "store"));
  const Outcome help = launch({"record", "--help"});
  for (const char* option : {"--record.store", "--record.parts", "--record.compression",
                             "--teacher.payload", "--train.steps", "--run.seed", "--config"})
    EXPECT_NE(help.out.find(option), std::string::npos) << option;
  const Arguments replays = distill(scratch / "run", {"--teacher.store", scratch / "store"});
  Outcome replay = launch(replays + Arguments{"--dry-run"});
  EXPECT_EQ(replay.code, 2);
  EXPECT_NE(replay.err.find(scratch / "store/index.json: no such file"), std::string::npos)
      << replay.err;
  ASSERT_EQ(launch(record(scratch / "store", {})).code, 0);
  replay = launch(replays + Arguments{"--dry-run"});
  EXPECT_EQ(replay.code, 0) << replay.err;
  EXPECT_NE(replay.out.find("replayed: nothing travels, 48 rows"), std::string::npos) << replay.out;
}

}  // namespace
}  // namespace temper
