// The commands as a user runs them: every file under configs/, help, dry runs, and one small job
// from text to student.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/launch/arguments.h"
#include "tests/launch/launcher.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

std::string sample_text() {
  std::string text;
  for (int i = 0; i < 4000; ++i)
    text +=
        "line " + std::to_string(i * 7919 % 1000) + " of a small text that has some order in it\n";
  return text;
}

TEST(CommandsTest, HelpNamesEveryOptionWithADefault) {
  const Outcome general = launch({"--help"});
  EXPECT_EQ(general.code, 0);
  for (const char* command : {"train", "distill", "plan", "calibrate", "evaluate"}) {
    EXPECT_NE(general.out.find(std::string("\n  ") + command), std::string::npos);
    const Outcome help = launch({command, "--help"});
    EXPECT_EQ(help.code, 0) << help.err;
    for (const char* option :
         {"--config", "--dry-run", "--data.source", "--run.threads", "--evaluate.max-tokens"}) {
      EXPECT_NE(help.out.find(option), std::string::npos) << command << " " << option;
    }
  }
  EXPECT_NE(launch({"distill", "--help"}).out.find("--teacher.temperature T (=2)"),
            std::string::npos);
}

TEST(CommandsTest, EveryConfigIsLoaded) {
  int found = 0;
  for (const auto& entry : fs::directory_iterator(std::string(TEMPER_SOURCE_DIR) + "/configs")) {
    if (entry.path().extension() != ".ini") continue;
    ++found;
    const ScratchDir scratch;
    write_text(scratch / "text.txt", sample_text());
    std::vector<std::string> arguments{
        "distill", "--config",    entry.path().string(), "--dry-run", "--data.source",
        "text",    "--data.text", scratch / "text.txt",  "--run.dir", scratch / "run"};
    if (entry.path().stem() == "from-teacher") {
      arguments.insert(
          arguments.end(),
          {"--teacher.path", std::string(TEMPER_SOURCE_DIR) + "/tests/model/golden/llama",
           "--train.seq", "32"});
    }
    const Outcome outcome = launch(arguments, 3);
    EXPECT_EQ(outcome.code, 0) << entry.path() << outcome.err;
    EXPECT_NE(outcome.out.find("Soft targets"), std::string::npos);
    EXPECT_FALSE(fs::exists(scratch / "run"));
  }
  EXPECT_GE(found, 3);
}

TEST(CommandsTest, DryRunDoesItsArithmetic) {
  const Outcome outcome =
      launch({"distill", "--dry-run", "--launch.teachers", "1", "--train.batch", "8", "--train.seq",
              "64", "--train.steps", "10", "--train.micro-batch", "2"},
             3);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  for (const char* words :
       {"8 sequences x 64 tokens = 512 tokens per step, x 10 steps = 5.1k tokens",
        "a rank has 4 sequences per step, in 2 micro-batches", "rank 0  node 0  student 0",
        "rank 2  node 0  teacher 0", "1024 bytes per token", "steps = 10"}) {
    EXPECT_NE(outcome.out.find(words), std::string::npos) << words << "\n" << outcome.out;
  }
}

TEST(CommandsTest, FromTextToAStudentThatEveryCommandOpens) {
  const ScratchDir scratch;
  write_text(scratch / "text.txt", sample_text());
  const std::string run = scratch / "run";
  const Outcome distilled = launch({"distill",
                                    "--run.dir",
                                    run,
                                    "--launch.teachers",
                                    "1",
                                    "--data.source",
                                    "text",
                                    "--data.text",
                                    scratch / "text.txt",
                                    "--data.tokenizer",
                                    "sentencepiece",
                                    "--data.vocab",
                                    "300",
                                    "--teacher.layers",
                                    "1",
                                    "--teacher.width",
                                    "64",
                                    "--teacher.train-steps",
                                    "30",
                                    "--student.layers",
                                    "1",
                                    "--student.width",
                                    "32",
                                    "--train.steps",
                                    "20",
                                    "--train.batch",
                                    "6",
                                    "--train.seq",
                                    "32",
                                    "--train.warmup",
                                    "5",
                                    "--train.checkpoint-every",
                                    "10",
                                    "--compare.hard-labels",
                                    "true",
                                    "--calibrate.position-buckets",
                                    "2"},
                                   3);
  ASSERT_EQ(distilled.code, 0) << distilled.err;
  for (const char* words : {"teacher", "student, distilled", "student, hard labels",
                            "before calibration", "after calibration", "0 to 15", "16 to 31",
                            "generation_config.json holds one T", "95% interval"}) {
    EXPECT_NE(distilled.out.find(words), std::string::npos) << words;
  }
  for (const char* file :
       {"config.ini", "metrics.jsonl", "summary.json", "report.html", "tokenizer.model",
        "teacher/model.safetensors", "student/config.json", "student/model.safetensors",
        "student/generation_config.json", "student/tokenizer.model",
        "checkpoints/step-00000010/model-00001-of-00002.safetensors",
        "checkpoints/step-00000020/config.json"}) {
    EXPECT_TRUE(fs::exists(fs::path(run) / file)) << file;
  }
  const std::vector<double> losses = metric(run + "/metrics.jsonl", "loss");
  ASSERT_EQ(losses.size(), 20u);
  EXPECT_LT(losses.back(), losses.front());
  for (const double bytes : metric(run + "/metrics.jsonl", "bytes_per_token"))
    EXPECT_GE(bytes, 300 * 4);  // 300 logits of fp32
  const auto summary = nlohmann::json::parse(read_text(run + "/summary.json"));
  const auto& student = summary.at("results").at(1);
  EXPECT_LE(student.at("fit").at("after").at("nll").get<double>(),
            student.at("fit").at("before").at("nll").get<double>());
  EXPECT_EQ(student.at("test").at("after").at("accuracy"),
            student.at("test").at("before").at("accuracy"));
  EXPECT_EQ(student.at("positions").size(), 2u);
  EXPECT_FALSE(student.at("test").at("after").contains("exact"));  // a text's truth is not known
  const double temperature = student.at("temperature").get<double>();
  EXPECT_EQ(nlohmann::json::parse(read_text(run + "/student/generation_config.json"))
                .at("temperature")
                .get<double>(),
            temperature);

  // The run's own configuration serves the other commands, on any number of ranks.
  const std::vector<std::string> common{
      "--config",       run + "/config.ini", "--model.path",
      run + "/student", "--data.tokenizer",  run + "/student/tokenizer.model",
      "--json"};
  for (const int ranks : {0, 2}) {
    std::vector<std::string> arguments{"calibrate", "--calibrate.position-buckets", "4"};
    arguments.insert(arguments.end(), common.begin(), common.end());
    const Outcome calibrated = launch(arguments, ranks);
    ASSERT_EQ(calibrated.code, 0) << calibrated.err;
    const auto json = nlohmann::json::parse(calibrated.out);
    EXPECT_NEAR(json.at("temperature").get<double>(), temperature, 1e-4);
    EXPECT_NEAR(json.at("before").at("nll").get<double>(),
                student.at("test").at("before").at("nll").get<double>(), 1e-4);
    EXPECT_GE(json.at("passes").get<int>(), 1);
    EXPECT_EQ(json.at("positions").size(), 4u);
    EXPECT_GT(json.at("positions").at(3).at("temperature").get<double>(), 0);
    EXPECT_TRUE(json.at("ece_rose").is_boolean());
    arguments.assign({"evaluate"});
    arguments.insert(arguments.end(), common.begin(), common.end());
    arguments.insert(arguments.end(), {"--evaluate.temperature", std::to_string(temperature),
                                       "--dump-logits", scratch / "logits.safetensors"});
    const Outcome evaluated = launch(arguments, ranks);
    ASSERT_EQ(evaluated.code, 0) << evaluated.err;
    const auto metrics = nlohmann::json::parse(evaluated.out);
    for (const char* key :
         {"nll", "perplexity", "accuracy", "ece", "ece_equal_mass", "ece_classwise", "brier",
          "entropy", "intervals", "tokens", "temperature"}) {
      EXPECT_TRUE(metrics.contains(key)) << key;
    }
    EXPECT_NEAR(metrics.at("nll").get<double>(),
                student.at("test").at("after").at("nll").get<double>(), 1e-4);
    EXPECT_TRUE(fs::exists(scratch / "logits.safetensors"));
  }
}

TEST(CommandsTest, FromTextToTokensToAStudentThatWrites) {
  const ScratchDir scratch;
  write_text(scratch / "text.txt", sample_text());
  const std::string tokenizer =
      std::string(TEMPER_SOURCE_DIR) + "/tests/data/golden/gpt2/tokenizer.json";
  const auto vocab = nlohmann::json::parse(read_text(tokenizer)).at("model").at("vocab").size();
  const Outcome tokenized =
      launch({"tokenize", "--tokenize.input", scratch / "text.txt", "--tokenize.output",
              scratch / "ids.npy", "--data.tokenizer", tokenizer});
  ASSERT_EQ(tokenized.code, 0) << tokenized.err;
  const std::string ids = read_text(scratch / "ids.npy");
  const Outcome again = launch({"tokenize", "--tokenize.input", scratch / "text.txt",
                                "--tokenize.output", scratch / "ids.npy"});
  EXPECT_EQ(again.code, 2);
  EXPECT_NE(again.err.find("--tokenize.output " + scratch / "ids.npy: this file is there already"),
            std::string::npos)
      << again.err;
  EXPECT_EQ(read_text(scratch / "ids.npy"), ids);
  const Outcome teacher = launch({"train",
                                  "--run.dir",
                                  scratch / "teacher",
                                  "--data.source",
                                  "text",
                                  "--data.text",
                                  scratch / "text.txt",
                                  "--data.tokenizer",
                                  tokenizer,
                                  "--model.layers",
                                  "4",
                                  "--model.width",
                                  "32",
                                  "--train.steps",
                                  "20",
                                  "--train.batch",
                                  "4",
                                  "--train.seq",
                                  "32",
                                  "--train.warmup",
                                  "2",
                                  "--evaluate.max-tokens",
                                  "512"});
  ASSERT_EQ(teacher.code, 0) << teacher.err;
  EXPECT_EQ(read_text(scratch / "teacher/model/tokenizer.json"), read_text(tokenizer));
  for (const std::string payload : {"hidden", "topk", "sample"}) {
    const std::string run = scratch / payload;
    std::vector<std::string> arguments = {"distill",
                                          "--run.dir",
                                          run,
                                          "--data.source",
                                          "tokens",
                                          "--data.tokens",
                                          scratch / "ids.npy",
                                          "--data.vocab",
                                          std::to_string(vocab),
                                          "--teacher.path",
                                          scratch / "teacher/model",
                                          "--student.init",
                                          "teacher",
                                          "--teacher.payload",
                                          payload,
                                          "--launch.teachers",
                                          "1",
                                          "--train.steps",
                                          "5",
                                          "--train.batch",
                                          "4",
                                          "--train.seq",
                                          "32",
                                          "--train.warmup",
                                          "1",
                                          "--evaluate.max-tokens",
                                          "512"};
    if (payload == "topk") arguments.insert(arguments.end(), {"--teacher.topk", "16"});
    const Outcome distilled = launch(arguments, 3);
    ASSERT_EQ(distilled.code, 0) << payload << distilled.err;
    // Token files do not name their tokenizer: the teacher's goes along.
    EXPECT_EQ(read_text(run + "/student/tokenizer.json"), read_text(tokenizer)) << payload;
  }
  const std::string student = scratch / "hidden/student";
  const Outcome generated = launch({"generate", "--model.path", student, "--generate.prompt",
                                    "line 1 of", "--generate.max-new-tokens", "8", "--json"});
  ASSERT_EQ(generated.code, 0) << generated.err;
  const auto json = nlohmann::json::parse(generated.out);
  EXPECT_EQ(json.at("decoding").at("temperature").at("source"), "generation_config.json");
  EXPECT_EQ(
      json.at("decoding").at("temperature").at("value"),
      nlohmann::json::parse(read_text(student + "/generation_config.json")).at("temperature"));
  EXPECT_EQ(json.at("results").at(0).at("texts").at(0).at("tokens").size(), 8u);
}

TEST(CommandsTest, TrainMakesATeacherThatDistillOpens) {
  const ScratchDir scratch;
  const Outcome trained = launch({"train",
                                  "--run.dir",
                                  scratch / "teacher",
                                  "--model.family",
                                  "gpt2",
                                  "--model.layers",
                                  "1",
                                  "--model.width",
                                  "32",
                                  "--train.steps",
                                  "10",
                                  "--train.batch",
                                  "4",
                                  "--train.seq",
                                  "32",
                                  "--evaluate.max-tokens",
                                  "512",
                                  "--run.resume",
                                  "auto",
                                  "--run.threads",
                                  "1"},
                                 2);
  ASSERT_EQ(trained.code, 0) << trained.err;
  EXPECT_NE(trained.err.find("ranks   2, 1 thread each, on "), std::string::npos) << trained.err;
  EXPECT_NE(trained.err.find("note    no checkpoints before the end of a stage"), std::string::npos)
      << trained.err;
  EXPECT_NE(trained.out.find("after, exact"), std::string::npos);  // of the built-in language
  const auto judged = nlohmann::json::parse(read_text(scratch / "teacher/summary.json"));
  EXPECT_GT(judged.at("test").at("after").at("exact").at("kl").get<double>(), 0);
  for (const char* precision : {"fp32", "bf16"}) {
    const Outcome distilled =
        launch({"distill", "--run.dir", scratch / precision, "--teacher.path",
                scratch / "teacher/model", "--student.path", scratch / "teacher/model",
                "--train.steps", "3", "--train.batch", "4", "--train.seq", "32", "--run.precision",
                precision, "--evaluate.max-tokens", "512", "--train.warmup", "0"});
    ASSERT_EQ(distilled.code, 0) << distilled.err;
    // A student that is its teacher: no divergence at the first step.
    EXPECT_NEAR(metric(scratch / (std::string(precision) + "/metrics.jsonl"), "kl").front(), 0.0,
                1e-5);
  }
}

TEST(CommandsTest, ReportsAndTensorboardOfRuns) {
  const ScratchDir scratch;
  for (const std::string run : {"a", "b"}) {
    const Outcome trained = launch(
        {"train", "--run.dir", scratch / run, "--model.layers", "1", "--model.width", "32",
         "--train.steps", "60", "--train.batch", "4", "--train.seq", "32", "--train.warmup", "5",
         "--evaluate.max-tokens", "512", "--log.tensorboard", run == "a" ? "true" : "false"});
    ASSERT_EQ(trained.code, 0) << trained.err;
    EXPECT_EQ(fs::exists(scratch / (run + "/tensorboard/events.out.tfevents.1.training")),
              run == "a");
  }
  const nlohmann::json summary = nlohmann::json::parse(read_text(scratch / "a/summary.json"));
  const nlohmann::json& fit = summary["fit"];
  ASSERT_EQ(fit["nll_curve"].size(), 25u);
  EXPECT_NEAR(
      fit["nll_curve"][12]["temperature"].get<double>() / summary["temperature"].get<double>(), 1,
      1e-9);
  EXPECT_NEAR(fit["nll_curve"][12]["nll"].get<double>(), fit["after"]["nll"].get<double>(), 1e-5);
  for (const nlohmann::json& point : fit["nll_curve"])  // the fit is the lowest
    EXPECT_GE(point["nll"].get<double>(), fit["after"]["nll"].get<double>() - 1e-6);

  fs::remove(scratch / "a/report.html");
  EXPECT_EQ(launch({"report", scratch / "a"}, 2).code, 0);
  EXPECT_NE(read_text(scratch / "a/report.html").find("NLL over the temperature"),
            std::string::npos);
  const Outcome both =
      launch({"report", scratch / "a", "--report.file", scratch / "both.html", scratch / "b"});
  EXPECT_EQ(both.code, 0) << both.err;
  EXPECT_NE(read_text(scratch / "both.html").find("Comparison of 2 runs"), std::string::npos);

  const Outcome nowhere = launch({"report", scratch / "a", scratch / "nowhere"}, 2);
  EXPECT_EQ(nowhere.code, 2);
  EXPECT_NE(nowhere.err.find(scratch / "nowhere: no run folder"), std::string::npos) << nowhere.err;
  EXPECT_NE(nowhere.err.find("name a folder that"), std::string::npos);
  EXPECT_EQ(launch({"report"}).code, 2);
  EXPECT_EQ(launch({"report", scratch / "a", scratch / "a/"}).code, 2);
  EXPECT_EQ(launch({"train", "stray"}).code, 2);  // other commands take no such arguments
}

}  // namespace
}  // namespace temper
