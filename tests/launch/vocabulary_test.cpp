// Teachers, students and data whose vocabularies do or do not fit together.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/launch/launcher.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

/// A model of a step's training; returns its folder.
std::string make_model(const ScratchDir& scratch, const std::string& name,
                       std::vector<std::string> more) {
  std::vector<std::string> arguments{"train",
                                     "--run.dir",
                                     scratch / name,
                                     "--model.width",
                                     "32",
                                     "--model.layers",
                                     "3",
                                     "--model.positions",
                                     "64",
                                     "--train.steps",
                                     "1",
                                     "--train.seq",
                                     "32",
                                     "--train.batch",
                                     "2",
                                     "--evaluate.max-tokens",
                                     "128",
                                     "--train.warmup",
                                     "0"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const Outcome outcome = launch(arguments);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return scratch / (name + "/model");
}

std::vector<std::string> small_job(const std::string& run, std::vector<std::string> more) {
  std::vector<std::string> arguments{
      "distill", "--run.dir",     run, "--train.steps",         "3",   "--train.seq",
      "32",      "--train.batch", "4", "--evaluate.max-tokens", "256", "--train.warmup",
      "0"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

/// NumPy's .npy of 20,000 ids below `vocab`.
std::string token_file(const ScratchDir& scratch, int vocab) {
  std::string header = "{'descr': '<u2', 'fortran_order': False, 'shape': (20000,), }";
  header.resize(118, ' ');
  std::string bytes("\x93NUMPY\x01\x00\x76\x00", 10);
  bytes += header;
  for (int i = 0; i < 20000; ++i) {
    const auto id = static_cast<uint16_t>(i * 7919 % vocab);
    bytes.append(reinterpret_cast<const char*>(&id), sizeof id);
  }
  write_text(scratch / "tokens.npy", bytes);
  return scratch / "tokens.npy";
}

std::string some_text(const std::string& words) {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += words + std::to_string(i * 7919 % 1000) + "\n";
  return text;
}

int vocab_size(const std::string& folder) {
  return nlohmann::json::parse(read_text(folder + "/config.json")).at("vocab_size").get<int>();
}

TEST(VocabularyTest, PaddedRowsAreTrimmedOnBothSides) {
  const ScratchDir scratch;
  const std::string teacher = make_model(scratch, "teacher", {"--data.vocab", "64"});
  const std::string student = make_model(scratch, "student", {"--data.vocab", "68"});
  for (const int ranks : {0, 3}) {
    const std::string run = scratch / ("run" + std::to_string(ranks));
    const Outcome outcome =
        launch(small_job(run, {"--data.source", "tokens", "--data.tokens", token_file(scratch, 61),
                               "--data.vocab", "61", "--teacher.path", teacher, "--student.path",
                               student, "--launch.teachers", ranks == 0 ? "0" : "1"}),
               ranks);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("the teacher has 64 rows of vocabulary, the tokenizer 61 ids"),
              std::string::npos)
        << outcome.err;
    EXPECT_NE(outcome.err.find("the student has 68 rows of vocabulary, the tokenizer 61 ids"),
              std::string::npos)
        << outcome.err;
    EXPECT_EQ(vocab_size(run + "/student"), 61);
    for (const double bytes : metric(run + "/metrics.jsonl", "bytes_per_token")) {
      EXPECT_LT(bytes, 62 * 4);
    }
  }
}

TEST(VocabularyTest, OtherTokenizersAreRefusedWithTheFirstDifferingToken) {
  const ScratchDir scratch;
  write_text(scratch / "a.txt", some_text("the first of the texts "));
  write_text(scratch / "b.txt", some_text("quite other words here "));
  const std::string teacher =
      make_model(scratch, "teacher",
                 {"--data.source", "text", "--data.text", scratch / "a.txt", "--data.tokenizer",
                  "sentencepiece", "--data.vocab", "290"});
  const std::string student =
      make_model(scratch, "student",
                 {"--data.source", "text", "--data.text", scratch / "b.txt", "--data.tokenizer",
                  "sentencepiece", "--data.vocab", "290"});
  const std::vector<std::string> text{"--data.source", "text", "--data.text", scratch / "a.txt"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), text.begin(), text.end());
    return launch(small_job(scratch / "run", more), 2);
  };
  const Outcome bytes = with({"--teacher.path", teacher, "--data.tokenizer", "bytes"});
  EXPECT_EQ(bytes.code, 2);
  EXPECT_NE(bytes.err.find("id 0 is \"<unk>\" there"), std::string::npos) << bytes.err;
  const Outcome others = with({"--teacher.path", teacher, "--student.path", student});
  EXPECT_EQ(others.code, 2);
  EXPECT_NE(others.err.find("the student's tokenizer"), std::string::npos) << others.err;
  EXPECT_NE(others.err.find("id 259 is"), std::string::npos) << others.err;  // after the bytes
  // With nothing said, the teacher's own tokenizer is used, and goes into the student's folder.
  fs::remove_all(scratch / "run");
  const Outcome own = with({"--teacher.path", teacher, "--student.init", "teacher"});
  ASSERT_EQ(own.code, 0) << own.err;
  EXPECT_NE(own.err.find("layers 0, 2 of the teacher"), std::string::npos) << own.err;
  EXPECT_EQ(read_text(scratch / "run/student/tokenizer.model"),
            read_text(teacher + "/tokenizer.model"));
  EXPECT_TRUE(fs::exists(scratch / "run/student/tokenizer_config.json"));
  EXPECT_EQ(vocab_size(scratch / "run/student"), 290);
  // A token that somebody added, for which the model has no row.
  write_text(teacher + "/added_tokens.json", "{\"<pad>\": 290}");
  fs::remove_all(scratch / "run");
  const Outcome added = with({"--teacher.path", teacher});
  EXPECT_EQ(added.code, 2);
  EXPECT_NE(added.err.find("the teacher's vocabulary has 290 ids, the data 291"), std::string::npos)
      << added.err;
  EXPECT_NE(added.err.find("take those from id 290 on out of added_tokens.json"), std::string::npos)
      << added.err;
}

// A file of ids does not say what they stand for; who knows it can say so.
TEST(VocabularyTest, TheTokenizerOfATokenFileIsComparedAndKept) {
  const ScratchDir scratch;
  write_text(scratch / "a.txt", some_text("the first of the texts "));
  write_text(scratch / "b.txt", some_text("quite other words here "));
  const auto trained = [&](const std::string& name) {
    return make_model(scratch, "from-" + name,
                      {"--data.source", "text", "--data.text", scratch / (name + ".txt"),
                       "--data.tokenizer", "sentencepiece", "--data.vocab", "290"});
  };
  const std::string a = trained("a"), b = trained("b");
  const auto with = [&](const std::string& teacher) {
    std::vector<std::string> more{
        "--data.source", "tokens", "--data.tokens",    token_file(scratch, 290),
        "--data.vocab",  "290",    "--data.tokenizer", a + "/tokenizer.model"};
    if (!teacher.empty()) more.insert(more.end(), {"--teacher.path", teacher});
    return launch(small_job(scratch / "run", more), 2);
  };
  const Outcome other = with(b);
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(other.err.find("the teacher's tokenizer (" + b + ") is not that of the data"),
            std::string::npos)
      << other.err;
  const Outcome random = with("");
  ASSERT_EQ(random.code, 0) << random.err;
  EXPECT_EQ(read_text(scratch / "run/student/tokenizer.model"), read_text(a + "/tokenizer.model"));
}

TEST(VocabularyTest, TheBuiltInLanguageIsRefusedWhereTheModelHasATokenizer) {
  const ScratchDir scratch;
  write_text(scratch / "a.txt", some_text("the first of the texts "));
  const std::vector<std::string> text{"--data.source", "text", "--data.text", scratch / "a.txt"};
  const std::string model = make_model(scratch, "model", text);
  const std::string plain = make_model(scratch, "plain", {});
  const auto refused = [&](const std::vector<std::string>& arguments, const std::string& option) {
    const Outcome outcome = launch(arguments);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_NE(outcome.err.find("--data.source is builtin, but --" + option + " " + model),
              std::string::npos)
        << outcome.err;
    EXPECT_NE(outcome.err.find("--data.text FILE"), std::string::npos) << outcome.err;
  };
  const std::vector<std::string> evaluate{"evaluate", "--train.seq", "32", "--evaluate.max-tokens",
                                          "256",      "--model.path"};
  const auto with = [](std::vector<std::string> arguments, const std::vector<std::string>& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  refused(with(evaluate, {model}), "model.path");
  refused(with(evaluate, {plain, "--evaluate.teacher", model}), "evaluate.teacher");
  refused({"train", "--run.dir", scratch / "a", "--model.path", model, "--train.steps", "1",
           "--train.seq", "32", "--train.warmup", "0"},
          "model.path");
  refused(small_job(scratch / "b", {"--teacher.path", model}), "teacher.path");
  refused(small_job(scratch / "c", {"--student.path", model}), "student.path");
  const Outcome own = launch(with(with(evaluate, {model}), text));
  EXPECT_EQ(own.code, 0) << own.err;
}

TEST(VocabularyTest, AStudentIsCutFromATeacherThatIsTrainedFirst) {
  const ScratchDir scratch;
  const Outcome outcome =
      launch(small_job(scratch / "run",
                       {"--teacher.train-steps", "3", "--teacher.layers", "4", "--teacher.width",
                        "32", "--student.init", "teacher", "--student.layers", "4",
                        "--launch.teachers", "1", "--data.vocab", "64", "--loss.alpha", "1"}),
             3);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("layers 0, 1, 2, 3 of the teacher"), std::string::npos) << outcome.err;
  // All of its layers: the student is the teacher, and has nothing to learn.
  EXPECT_NEAR(metric(scratch / "run/metrics.jsonl", "kl").front(), 0.0, 1e-6);
}

}  // namespace
}  // namespace temper
