// Ranks that were started with another configuration, or see another corpus or tokenizer, are
// refused before the first step, with both values.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/launch/launcher.h"

namespace temper {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

Arguments operator+(Arguments some, const Arguments& more) {
  some.insert(some.end(), more.begin(), more.end());
  return some;
}

Arguments distill(const std::string& dir, const Arguments& more = {}) {
  return Arguments{
             "distill", "--run.dir",       dir,  "--launch.teachers", "1",  "--teacher.layers",
             "1",       "--teacher.width", "32", "--teacher.heads",   "2",  "--student.layers",
             "1",       "--student.width", "32", "--student.heads",   "2",  "--train.steps",
             "4",       "--train.batch",   "6",  "--train.seq",       "16", "--evaluate.max-tokens",
             "128"} +
         more;
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

void expect_refused(const Outcome& outcome, const std::string& dir,
                    const std::vector<std::string>& parts) {
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  EXPECT_EQ(count(outcome.err, "error:"), 1u) << outcome.err;
  for (const std::string& part : parts)
    EXPECT_NE(outcome.err.find(part), std::string::npos) << part << "\n" << outcome.err;
  EXPECT_FALSE(fs::exists(dir + "/metrics.jsonl"));
}

TEST(RanksAgreeTest, AnotherOptionIsRefused) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  expect_refused(
      launch_groups({{2, distill(dir), ""}, {1, distill(dir, {"--train.lr", "0.02"}), ""}}), dir,
      {"the ranks differ in their configuration: rank 0 on ", "has '--train.lr = 0.001'",
       "rank 2 on ", "has '--train.lr = 0.02'"});
  EXPECT_FALSE(fs::exists(dir)) << "refused before anything is written";
}

TEST(RanksAgreeTest, AnotherConfigurationFileIsRefused) {
  const ScratchDir scratch;
  fs::create_directory(scratch / "a");
  fs::create_directory(scratch / "b");
  write_text(scratch / "a/c.ini", "[train]\nseq = 16\n[teacher]\ntemperature = 2\n");
  write_text(scratch / "b/c.ini", "[train]\nseq = 16\n[teacher]\ntemperature = 3\n");
  const std::string dir = scratch / "run";
  const Arguments arguments = distill(dir, {"--config", "c.ini"});
  expect_refused(
      launch_groups({{1, arguments, scratch / "a"}, {2, arguments, scratch / "b"}}), dir,
      {"has '--teacher.temperature = 2'", "rank 1 on ", "has '--teacher.temperature = 3'"});
}

TEST(RanksAgreeTest, AnotherCommandOrHelpIsRefused) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  expect_refused(launch_groups({{1, distill(dir), ""}, {1, {"train", "--run.dir", dir}, ""}}), dir,
                 {"the ranks differ in their command", "has 'distill'", "has 'train'"});
  expect_refused(launch_groups({{1, distill(dir), ""}, {1, {}, ""}}), dir,
                 {"the ranks differ in their command", "has '--help'"});
  expect_refused(launch_groups({{1, distill(dir), ""}, {1, distill(dir, {"--help"}), ""}}), dir,
                 {"has '--help false'", "has '--help true'"});
}

TEST(RanksAgreeTest, AnotherCorpusIsRefused) {
  const ScratchDir scratch;
  fs::create_directory(scratch / "a");
  fs::create_directory(scratch / "b");
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "the step " + std::to_string(i * i) + " of many\n";
  write_text(scratch / "a/text.txt", text);
  text[text.size() / 2] ^= 1;  // the same size
  write_text(scratch / "b/text.txt", text);
  const std::string dir = scratch / "run";
  for (const std::string command : {"distill", "train"}) {
    const Arguments data = {"--data.source", "text", "--data.text", "text.txt"};
    const Arguments arguments =
        command == "distill"
            ? distill(dir, data)
            : Arguments{"train", "--run.dir", dir, "--train.seq", "16", "--train.steps", "4"} +
                  data;
    expect_refused(launch_groups({{2, arguments, scratch / "a"}, {1, arguments, scratch / "b"}}),
                   dir,
                   {"the ranks differ in their data: rank 0 on ", "fingerprint ", "rank 2 on "});
  }
}

TEST(RanksAgreeTest, AnotherTokenizerIsRefused) {
  const ScratchDir scratch;
  // A byte tokenizer, and one that has two tokens swapped; the data are ids, the same for all.
  ASSERT_EQ(launch({"train",
                    "--run.dir",
                    scratch / "model-run",
                    "--model.layers",
                    "1",
                    "--model.width",
                    "32",
                    "--model.heads",
                    "2",
                    "--train.steps",
                    "1",
                    "--train.seq",
                    "16",
                    "--evaluate.max-tokens",
                    "128",
                    "--data.source",
                    "text",
                    "--data.text",
                    std::string(TEMPER_SOURCE_DIR) + "/README.md",
                    "--data.tokenizer",
                    "bytes"})
                .code,
            0);
  for (const std::string node : {"a", "b"}) {
    fs::create_directory(scratch / node);
    fs::copy(scratch / "model-run/model", scratch / (node + "/teacher"));
  }
  const std::string file = scratch / "b/teacher/tokenizer.json";
  std::string json = read_text(file);
  ASSERT_NE(json.find("\"a\": 97"), std::string::npos + 1);
  const size_t a = json.find("\"a\":"), b = json.find("\"b\":");
  ASSERT_NE(a, std::string::npos) << json.substr(0, 400);
  ASSERT_NE(b, std::string::npos);
  std::swap(json[a + 1], json[b + 1]);
  write_text(file, json);
  write_text(scratch / "text.txt",
             std::string(20000, 'x') + read_text(std::string(TEMPER_SOURCE_DIR) + "/README.md"));
  const std::string dir = scratch / "run";
  ASSERT_EQ(launch({"tokenize", "--tokenize.input", scratch / "text.txt", "--tokenize.output",
                    scratch / "ids.npy", "--data.tokenizer", scratch / "a/teacher"})
                .code,
            0);
  const Arguments arguments = {"distill",
                               "--run.dir",
                               dir,
                               "--teacher.path",
                               "teacher",
                               "--student.init",
                               "teacher",
                               "--data.source",
                               "tokens",
                               "--data.tokens",
                               scratch / "ids.npy",
                               "--data.vocab",
                               "256",
                               "--train.steps",
                               "4",
                               "--train.seq",
                               "16"};
  expect_refused(
      launch_groups({{1, arguments, scratch / "a"}, {1, arguments, scratch / "b"}}), dir,
      {"the ranks differ in their tokenizer: rank 0 on ", "'teacher, fingerprint ", "rank 1 on "});
}

// Nodes may have other cores and other devices.
TEST(RanksAgreeTest, ThreadsMayDiffer) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  const Outcome outcome = launch_groups({{1, distill(dir, {"--run.threads", "1"}), ""},
                                         {1, distill(dir, {"--run.threads", "2"}), ""}});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
}

}  // namespace
}  // namespace temper
