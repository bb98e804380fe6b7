// What a user may get wrong: each ends all ranks within ten seconds, with an exit code that says so
// and one line on one rank's screen that names the option or file, the value and the remedy.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "tests/launch/launcher.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

using Arguments = std::vector<std::string>;

constexpr double kLongest = 10.0;

size_t count(const std::string& text, const std::string& what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size()))
    ++found;
  return found;
}

/// A job of one teacher and two students that must be refused, with all of `words` in its one
/// message.
void refused(const Arguments& more, const Arguments& words, const std::string& command = "distill",
             int ranks = 3) {
  const ScratchDir scratch;
  Arguments arguments{command};
  if (command == "distill") {
    const Arguments usual = {"--train.steps",     "2", "--train.seq",     "32",
                             "--train.batch",     "4", "--teacher.width", "32",
                             "--launch.teachers", "1", "--run.dir",       scratch / "run"};
    for (size_t i = 0; i < usual.size(); i += 2) {
      if (std::find(more.begin(), more.end(), usual[i]) == more.end())
        arguments.insert(arguments.end(), {usual[i], usual[i + 1]});
    }
  }
  arguments.insert(arguments.end(), more.begin(), more.end());
  const Outcome outcome = launch(arguments, ranks, 60);
  SCOPED_TRACE(outcome.err);
  EXPECT_EQ(outcome.code, 2);
  EXPECT_LE(outcome.seconds, kLongest);
  EXPECT_EQ(count(outcome.err, "error: "), 1u);
  EXPECT_EQ(count(outcome.err, "frame #"), 0u);
  EXPECT_EQ(count(outcome.err, "terminate called"), 0u);
  const size_t begin = outcome.err.find("error: ");
  ASSERT_NE(begin, std::string::npos);
  const std::string line = outcome.err.substr(begin, outcome.err.find('\n', begin) - begin);
  for (const std::string& word : words)
    EXPECT_NE(line.find(word), std::string::npos) << "'" << word << "' in: " << line;
}

/// A model with the vocabulary, trained for a step.
std::string make_model(const ScratchDir& scratch, const std::string& name, int vocab,
                       int positions = 64) {
  const Outcome outcome = launch(
      {"train", "--run.dir", scratch / name, "--data.vocab", std::to_string(vocab), "--model.width",
       "32", "--model.layers", "1", "--model.positions", std::to_string(positions), "--train.steps",
       "1", "--train.seq", "32", "--train.batch", "2", "--evaluate.max-tokens", "128"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return scratch / (name + "/model");
}

TEST(BadInputTest, MissingText) {
  refused({"--data.source", "text", "--data.text", "/nowhere/book.txt"},
          {"/nowhere/book.txt", "data.text"});
}

TEST(BadInputTest, TextThatWouldBeIgnored) {
  refused({"--data.text", "book.txt"}, {"--data.text", "book.txt", "--data.source"});
}

TEST(BadInputTest, NoTextGiven) { refused({"--data.source", "text"}, {"data.text"}); }

TEST(BadInputTest, EmptyText) {
  const ScratchDir scratch;
  write_text(scratch / "empty.txt", "");
  refused({"--data.source", "text", "--data.text", scratch / "empty.txt"}, {"empty.txt", "empty"});
}

TEST(BadInputTest, TextTooShort) {
  const ScratchDir scratch;
  write_text(scratch / "short.txt", "To be, or not to be.");
  refused({"--data.source", "text", "--data.text", scratch / "short.txt"},
          {"short.txt", "train.seq"});
}

TEST(BadInputTest, TokenOutsideTheVocabulary) {
  const ScratchDir scratch;
  // llm.c's format: 256 int32 (magic 20240520, version 1, count), then uint16.
  std::vector<int32_t> header(256, 0);
  header[0] = 20240520;
  header[1] = 1;
  header[2] = 5000;
  std::vector<uint16_t> ids(5000, 7);
  ids[4321] = 1234;
  write_text(scratch / "tokens.bin",
             std::string(reinterpret_cast<const char*>(header.data()), 1024) +
                 std::string(reinterpret_cast<const char*>(ids.data()), 10000));
  refused(
      {"--data.source", "tokens", "--data.tokens", scratch / "tokens.bin", "--data.vocab", "1000"},
      {"tokens.bin", "1234", "1000", "4321"});
}

TEST(BadInputTest, VocabulariesThatDiffer) {
  const ScratchDir scratch;
  refused({"--data.vocab", "64", "--teacher.path", make_model(scratch, "a", 64), "--student.path",
           make_model(scratch, "b", 96)},
          {"64", "96", "vocabulary"});
}

TEST(BadInputTest, MoreTeachersThanRanks) {
  refused({"--launch.teachers", "3"}, {"--launch.teachers", "3"});
  refused({"--launch.teachers", "7"}, {"--launch.teachers", "7"});
  refused({"--launch.teachers", "-1"}, {"--launch.teachers", "-1"});
}

TEST(BadInputTest, TemperatureThatIsNone) {
  for (const char* value : {"0", "-2", "nan", "inf"})
    refused({"--teacher.temperature", value}, {"--teacher.temperature", value});
  refused({"--teacher.temperature", "warm"}, {"teacher.temperature", "warm"});
}

TEST(BadInputTest, ScheduleThatIsNone) {
  refused({"--loss.alpha", "0:0.9,half:0.1"},
          {"--loss.alpha", "0:0.9,half:0.1", "'half:0.1'", "0:0.9,50%:0.9,100%:0.1"});
  refused({"--teacher.temperature", "0:4,100%:0"}, {"--teacher.temperature", "0:4,100%:0"});
  refused({"--train.lr-schedule", "cosin"}, {"--train.lr-schedule", "cosin", "cosine"});
}

TEST(BadInputTest, StoreOfATemperatureThatChanges) {
  const std::vector<std::string> words = {"/x", "--teacher.temperature 0:4,100%:1",
                                          "give --teacher.temperature a plain number"};
  const Arguments changing = {"--teacher.temperature", "0:4,100%:1"};
  const auto with = [&](Arguments more) {
    more.insert(more.end(), changing.begin(), changing.end());
    return more;
  };
  refused(with({"--teacher.tee", "/x"}), words);
  refused(with({"--teacher.store", "/x", "--launch.teachers", "0"}), words);
  refused(with({"--record.store", "/x"}), words, "record");
}

TEST(BadInputTest, MorePositionBucketsThanPositions) {
  refused({"--calibrate.position-buckets", "33"}, {"--calibrate.position-buckets", "33", "32"});
  refused({"--calibrate.position-buckets", "-1"}, {"--calibrate.position-buckets", "-1"});
}

TEST(BadInputTest, UnwritableRunFolder) {
  const ScratchDir scratch;
  write_text(scratch / "file", "x");
  refused({"--run.dir", scratch / "file"}, {"--run.dir", scratch / "file"});
  refused({"--run.dir", scratch / "file/below"}, {"--run.dir", scratch / "file/below"});
  refused({"--run.dir", "/proc/temper"}, {"--run.dir", "/proc/temper"});
}

TEST(BadInputTest, RunFolderInUse) {
  const ScratchDir scratch;
  write_text(scratch / "config.ini", "# an earlier run\n");
  refused({"--run.dir", scratch.path()}, {"--run.dir", scratch.path(), "run.overwrite"});
  EXPECT_EQ(read_text(scratch / "config.ini"), "# an earlier run\n");
  // What a refused job leaves is in nobody's way.
  write_text(scratch / "config.ini", "# temper distill: the resolved configuration of this run\n");
  refused({"--run.dir", scratch.path(), "--data.source", "text", "--data.text", "/nowhere"},
          {"/nowhere"});
  write_text(scratch / "metrics.jsonl", "{}\n");
  refused({"--run.dir", scratch.path()}, {"--run.dir", scratch.path(), "run.overwrite"});
}

// What is left of a run may be its only checkpoint, or a student that somebody kept.
TEST(BadInputTest, RunFolderWithPartsOfARun) {
  for (const std::string part :
       {"checkpoints", "stages", "student", "model", "teacher", "report.html"}) {
    const ScratchDir scratch;
    const std::string file = part == "report.html" ? scratch / part : scratch / (part + "/kept");
    fs::create_directories(fs::path(file).parent_path());
    write_text(file, "kept");
    refused({"--run.dir", scratch.path()}, {"--run.dir", scratch.path(), "run.overwrite"});
    EXPECT_EQ(read_text(file), "kept") << part;
  }
}

TEST(BadInputTest, TruncatedWeights) {
  const ScratchDir scratch;
  const std::string model = make_model(scratch, "a", 64);
  const std::string weights = model + "/model.safetensors";
  fs::resize_file(weights, fs::file_size(weights) - 100);
  refused({"--data.vocab", "64", "--teacher.path", model}, {"model.safetensors", "truncated"});
  fs::resize_file(weights, 0);
  refused({"--data.vocab", "64", "--teacher.path", model}, {"model.safetensors"});
}

TEST(BadInputTest, MalformedModelConfig) {
  const ScratchDir scratch;
  const std::string model = make_model(scratch, "a", 64);
  for (const char* text : {"", "{", "[1, 2]", "{\"model_type\": 3}",
                           "{\"model_type\": \"llama\", \"hidden_size\": -5}", "null"}) {
    write_text(model + "/config.json", text);
    refused({"--data.vocab", "64", "--teacher.path", model}, {"config.json"});
  }
}

TEST(BadInputTest, MissingModel) {
  refused({"--teacher.path", "/nowhere/teacher"}, {"/nowhere/teacher"});
  const std::string remedy =
      "no such folder, and temper downloads nothing; name a downloaded Hugging Face folder "
      "(config.json and model.safetensors)";
  refused({"--teacher.path", "gpt2"}, {"--teacher.path gpt2: " + remedy});
  refused({"--student.path", "gpt2"}, {"--student.path gpt2: " + remedy});
  for (const char* command : {"train", "evaluate", "calibrate"})
    refused({"--model.path", "gpt2"}, {"--model.path gpt2: " + remedy}, command, 1);
  refused({"--model.path", "gpt2", "--generate.prompt", "x"}, {"--model.path gpt2: " + remedy},
          "generate", 1);
  const ScratchDir scratch;
  refused({"--teacher.path", scratch.path()},
          {"--teacher.path " + scratch.path() + ": this folder holds no config.json"});
  write_text(scratch / "config.json", "{}");
  refused({"--model.path", scratch.path(), "--evaluate.teacher", "gpt2"},
          {"--evaluate.teacher gpt2: " + remedy}, "evaluate", 1);
}

// What a run would refuse at its start, a dry run refuses too.
TEST(BadInputTest, DryRunOfWhatCannotRun) {
  const ScratchDir scratch;
  const auto dry = [](const Arguments& more, const Arguments& words,
                      const std::string& command = "distill", int ranks = 3) {
    Arguments arguments{"--dry-run"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    refused(arguments, words, command, ranks);
  };
  dry({"--data.source", "text", "--data.text", "/nowhere/book.txt"},
      {"--data.text /nowhere/book.txt"});
  dry({"--data.source", "tokens", "--data.tokens", "/nowhere/ids.npy", "--data.vocab", "300"},
      {"--data.tokens /nowhere/ids.npy"});
  write_text(scratch / "book.txt", "To be, or not to be.");
  dry({"--data.source", "text", "--data.text", scratch / "book.txt", "--data.tokenizer",
       "/nowhere/tokenizer.json"},
      {"--data.tokenizer /nowhere/tokenizer.json"});
  dry({"--data.source", "text", "--data.text", scratch / "book.txt", "--data.vocab", "8192"},
      {"--data.vocab is 8192", "read as bytes", "--data.tokenizer sentencepiece"});
  dry({"--data.tokenizer", "bytes"}, {"--data.tokenizer is bytes", "--data.source is builtin"});
  dry({"--teacher.store", "/nowhere/store", "--launch.teachers", "0"}, {"/nowhere/store"});
  dry({"--teacher.payload", "topk", "--teacher.topk", "300"}, {"--teacher.topk is 300", "256"});
  dry({"--student.positions", "16"}, {"--train.seq is 32", "the student takes at most 16"});
  dry({"--teacher.positions", "16"}, {"--train.seq is 32", "the teacher takes at most 16"});
  dry({"--run.resume", "nowhere"}, {"--run.resume nowhere: No such file"});
  fs::create_directories(scratch / "run/student");
  dry({"--run.dir", scratch / "run"}, {"--run.dir " + scratch / "run holds a run already"});
  dry({"--run.dir", scratch / "run"}, {"--run.dir " + scratch / "run holds a run already"}, "train",
      1);
  dry({"--data.source", "text", "--data.text", "/nowhere/book.txt"},
      {"--data.text /nowhere/book.txt"}, "train", 1);
  dry({"--record.store", scratch / "store", "--teacher.positions", "16"},
      {"--train.seq is 128", "the teacher takes at most 16"}, "record", 1);
  dry({"/nowhere/run"}, {"/nowhere/run: no run folder"}, "report", 1);
}

TEST(BadInputTest, JsonOfACommandThatPrintsNone) {
  refused({"--json"}, {"--json is no option of 'temper distill', only of another command"});
  refused({"--model.path", std::string(TEMPER_SOURCE_DIR) + "/tests/model/golden/llama", "--json",
           "--dry-run"},
          {"--json and --dry-run", "leave one out"}, "evaluate", 1);
}

TEST(BadInputTest, SequenceBeyondThePositions) {
  const ScratchDir scratch;
  refused({"--data.vocab", "64", "--teacher.path", make_model(scratch, "a", 64, 48), "--train.seq",
           "49"},
          {"--train.seq", "49", "48"});
  refused({"--student.positions", "16"}, {"--train.seq", "32", "16"});
}

TEST(BadInputTest, TeacherOpenedAndTrained) {
  refused({"--teacher.path", "/x", "--teacher.train-steps", "5"},
          {"--teacher.path", "--teacher.train-steps"});
}

TEST(BadInputTest, UnknownNames) {
  refused({"--train.stesp", "5"}, {"--train.stesp", "--train.steps"});
  refused({"--evaluate.temperature", "2"}, {"--evaluate.temperature"});  // only another command's
  refused({}, {"distil", "distill"}, "distil");
  const ScratchDir scratch;
  write_text(scratch / "a.ini", "[train]\nstpes = 5\n");
  refused({"--config", scratch / "a.ini"}, {"a.ini", "train.stpes", "train.steps"});
  write_text(scratch / "a.ini", "[train\nsteps 5\n");
  refused({"--config", scratch / "a.ini"}, {"a.ini, line 1"});
  // Also what is seen after the file was read.
  write_text(scratch / "a.ini", "[train]\nlr = -1\n[loss]\nalpha = half\n");
  refused({"--config", scratch / "a.ini", "--train.lr", "1"},
          {"--loss.alpha", "half", "(it stands in " + scratch / "a.ini, line 4)"});
  refused({"--config", scratch / "a.ini", "--loss.alpha", "1"},
          {"--train.lr is -1", "(it stands in " + scratch / "a.ini, line 2)"});
  refused({"--config", ""}, {"--config is empty"});
  refused({"--config", scratch / "none.ini"}, {"none.ini"});
  refused({"stray"}, {"stray"});
}

TEST(BadInputTest, KeysOfOtherCommandsAreNotedOnce) {
  const ScratchDir scratch;
  const std::string keys = "[model]\nlayers = 2\nwidth = 32\n[train]\nsteps = 2\n";
  const Arguments arguments = {"distill", "--dry-run", "--launch.teachers",
                               "1",       "--config",  scratch / "a.ini"};
  write_text(scratch / "a.ini", keys);
  Outcome outcome = launch(arguments, 3, 60);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(count(outcome.err, "note    " + scratch / "a.ini: model.layers and model.width are not "
                                                      "used by distill\n"),
            1u)
      << outcome.err;
  EXPECT_EQ(count(outcome.err, "not used by"), 1u) << outcome.err;
  // A run's configuration serves other commands as it is.
  write_text(scratch / "a.ini", "# temper train: the resolved configuration of this run\n" + keys);
  outcome = launch(arguments, 3, 60);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(count(outcome.err, "not used by"), 0u) << outcome.err;
}

TEST(BadInputTest, FewerSequencesThanStudents) {
  refused({"--train.batch", "1"}, {"--train.batch", "1"});
}

TEST(BadInputTest, NumbersThatAreNone) {
  refused({"--train.steps", "ten"}, {"train.steps", "ten"});
  refused({"--train.lr", "-1"}, {"--train.lr", "-1"});
  refused({"--data.language-seed", "-1"}, {"--data.language-seed", "-1"});
}

TEST(BadInputTest, EvaluateWithoutModel) { refused({}, {"--model.path"}, "evaluate"); }

#ifndef TEMPER_WITH_CUDA
TEST(BadInputTest, NoGpu) { refused({"--run.device", "cuda"}, {"--run.device", "cuda"}); }
#endif

// Trouble in the middle of a run: a learning rate that blows up ends all ranks with the code for
// numbers.
TEST(BadInputTest, NumericTroubleHasItsOwnExitCode) {
  const ScratchDir scratch;
  const Outcome outcome = launch({"distill",
                                  "--run.dir",
                                  scratch / "run",
                                  "--launch.teachers",
                                  "1",
                                  "--train.steps",
                                  "50",
                                  "--train.seq",
                                  "32",
                                  "--train.batch",
                                  "4",
                                  "--train.optimizer",
                                  "sgd",
                                  "--train.lr",
                                  "1e30",
                                  "--train.clip",
                                  "0",
                                  "--train.warmup",
                                  "0",
                                  "--evaluate.max-tokens",
                                  "64"},
                                 3, 60);
  EXPECT_EQ(outcome.code, 4) << outcome.err;
  EXPECT_EQ(count(outcome.err, "error: "), 1u) << outcome.err;
}

}  // namespace
}  // namespace temper
