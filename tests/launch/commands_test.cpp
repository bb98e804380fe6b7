// The commands as a user runs them: every file under configs/, help, dry runs, and one small job
// from text to student.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "tests/launch/arguments.h"
#include "tests/launch/launcher.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

using Ids = std::vector<int>;

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

TEST(CommandsTest, CalibrateWritesTheTemperatureAndNothingElse) {
  const ScratchDir scratch;
  const Arguments usual = {"--train.seq",   "32", "--evaluate.max-tokens", "512",
                           "--run.threads", "1"};
  const Outcome distilled = launch(
      Arguments{"distill", "--run.dir", scratch / "run", "--teacher.layers", "1", "--teacher.width",
                "32", "--student.layers", "1", "--student.width", "32", "--train.steps", "30",
                "--train.lr", "0.01", "--train.warmup", "2", "--train.batch", "4"} +
      usual);
  ASSERT_EQ(distilled.code, 0) << distilled.err;
  const std::string student = scratch / "run/student", name = "generation_config.json";
  const auto files = [&] {
    std::map<std::string, std::string> contents;
    for (const auto& entry : fs::directory_iterator(student))
      contents[entry.path().filename().string()] = read_text(entry.path().string());
    return contents;
  };
  nlohmann::json settings = nlohmann::json::parse(read_text(student + "/" + name));
  const double fitted = settings.at("temperature").get<double>();
  settings["temperature"] = 9.0;
  settings["top_k"] = 20;  // a person's
  write_text(student + "/" + name, settings.dump());
  const std::map<std::string, std::string> before = files();
  const Arguments calibrate = Arguments{"calibrate", "--model.path", student, "--json"} + usual;
  ASSERT_EQ(launch(calibrate).code, 0);
  EXPECT_EQ(files(), before);

  const Outcome written = launch(calibrate + Arguments{"--calibrate.write", "true"}, 2);
  ASSERT_EQ(written.code, 0) << written.err;
  const double temperature = nlohmann::json::parse(written.out).at("temperature").get<double>();
  EXPECT_NEAR(temperature, fitted, 1e-3 * fitted);
  std::map<std::string, std::string> after = files();
  settings["temperature"] = temperature;
  EXPECT_EQ(nlohmann::json::parse(after[name]), settings);
  after[name] = before.at(name);
  EXPECT_EQ(after, before);
}

// A colocated rank holds both models: here that is the fastest layout, and the one that takes most.
TEST(CommandsTest, PlanLeavesOutWhatDoesNotFit) {
  const Arguments rates = {"plan", "--plan.ranks",
                           "3",    "--plan.teacher-tokens-per-s",
                           "100",  "--plan.student-tokens-per-s",
                           "100",  "--plan.payloads",
                           "full", "--train.batch",
                           "6",    "--train.micro-batch",
                           "1",    "--train.seq",
                           "8",    "--run.threads",
                           "1"};
  const auto planned = [&](double gib) {
    const Outcome outcome =
        launch(rates + Arguments{"--plan.memory-gib", std::to_string(gib), "--json"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out);
  };
  const auto largest = [](const nlohmann::json& prediction) {
    return std::max(prediction.at("memory_teacher_bytes").get<double>(),
                    prediction.at("memory_student_bytes").get<double>());
  };
  const nlohmann::json unlimited = planned(0);
  ASSERT_EQ(unlimited.at("recommended").at("teachers"), 0);
  const double both = largest(unlimited.at("recommended"));
  double split = 0;
  for (const nlohmann::json& each : unlimited.at("predictions")) {
    if (each.at("teachers") != 0) split = std::max(split, largest(each));
  }
  ASSERT_LT(split, 0.9 * both);
  constexpr double kGib = 1024.0 * 1024 * 1024;
  const nlohmann::json limited = planned((split + both) / 2 / kGib);
  EXPECT_GT(limited.at("recommended").at("teachers").get<int>(), 0);
  EXPECT_LE(largest(limited.at("recommended")), split);
  EXPECT_LT(limited.at("recommended").at("tokens_per_s").get<double>(),
            unlimited.at("recommended").at("tokens_per_s").get<double>());

  EXPECT_TRUE(planned(1e-6).at("recommended").is_null());
  const Outcome text = launch(rates + Arguments{"--plan.memory-gib", "1e-6"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.out.find("nothing fits into 1.0 KiB a rank"), std::string::npos) << text.out;
}

// A model of 61 ids, read as bytes, whose texts are known: those that transformers made of 20
// prompts (tests/peers/make_generation.py).
class GenerateTest : public testing::Test {
 protected:
  GenerateTest() {
    const std::string tests = std::string(TEMPER_SOURCE_DIR) + "/tests/model/";
    fs::copy(tests + "golden/llama", model_);
    golden_ = nlohmann::json::parse(read_text(tests + "golden_generation/generation.json"));
  }

  // The ids of golden texts, ends included.
  std::vector<Ids> texts(const std::string& way) const {
    return golden_.at("families").at("llama").at(way).at("texts").get<std::vector<Ids>>();
  }
  static std::string bytes(const Ids& ids) { return {ids.begin(), ids.end()}; }

  void set_decoding(const nlohmann::json& settings) const {
    write_text(model_ + "/generation_config.json", settings.dump());
  }

  // Golden prompts by their numbers, as a file.
  std::string prompts(const std::vector<size_t>& numbers) const {
    std::string lines;
    for (const size_t number : numbers) {
      nlohmann::json line;
      line["prompt"] = bytes(golden_.at("prompts").at(number).get<Ids>());
      lines += line.dump() + "\n";
    }
    write_text(scratch_ / "prompts.jsonl", lines);
    return scratch_ / "prompts.jsonl";
  }
  std::string all_prompts() const {
    std::vector<size_t> numbers(golden_.at("prompts").size());
    std::iota(numbers.begin(), numbers.end(), size_t{0});
    return prompts(numbers);
  }

  Outcome generate(const Arguments& more, int ranks = 0) const {
    return launch(Arguments{"generate", "--model.path", model_, "--generate.tokenizer", "bytes",
                            "--run.threads", "1"} +
                      more,
                  ranks);
  }
  nlohmann::json results(const Arguments& more, int ranks = 0) const {
    const Outcome outcome = generate(more + Arguments{"--json"}, ranks);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out).at("results");
  }

  const ScratchDir scratch_;
  const std::string model_ = scratch_ / "model";
  nlohmann::json golden_;
};

TEST_F(GenerateTest, TwoRanksWriteWhatOneWrites) {
  const std::map<std::string, Arguments> ways = {
      {"greedy", {}},
      {"beams, early",
       {"--generate.beams", "3", "--generate.early-stopping", "true", "--generate.length-penalty",
        "2"}}};
  for (const auto& [way, options] : ways) {
    set_decoding({{"eos_token_id", golden_.at("cases").at(way).value("eos_token_id", Ids{0})}});
    const Arguments many =
        options + Arguments{"--generate.prompts",        all_prompts(), "--generate.batch", "3",
                            "--generate.max-new-tokens", "20"};
    const nlohmann::json alone = results(many);
    const std::vector<Ids> wanted = texts(way);
    ASSERT_EQ(alone.size(), wanted.size()) << way;
    for (size_t i = 0; i < wanted.size(); ++i)
      EXPECT_EQ(alone[i].at("texts").at(0).at("tokens").get<Ids>(), wanted[i]) << way << " " << i;
    EXPECT_EQ(results(many, 2), alone) << way;
  }
}

TEST_F(GenerateTest, APromptALine) {
  // The prompts 0 and 12 are one printable byte each.
  write_text(scratch_ / "prompts.txt", "8\r\n\n*\n");
  const std::string wanted =
      "[1] 8" + bytes(texts("greedy")[0]) + "\n[2] *" + bytes(texts("greedy")[12]) + "\n";
  for (const int ranks : {0, 2}) {
    const Outcome outcome = generate({"--generate.prompts", scratch_ / "prompts.txt",
                                      "--generate.batch", "1", "--generate.max-new-tokens", "20"},
                                     ranks);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.out, wanted);
  }
}

TEST_F(GenerateTest, AStopStringEndsTheText) {
  const std::string stop = "(\"";  // the ids 40 and 34
  const Arguments options = {"--generate.stop", stop, "--generate.max-new-tokens", "20"};
  const nlohmann::json found = results(options + Arguments{"--generate.prompts", all_prompts()});
  const std::vector<Ids> whole = texts("greedy");
  ASSERT_EQ(found.size(), whole.size());
  size_t stopped = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    const nlohmann::json& text = found[i].at("texts").at(0);
    const bool ended = whole[i].back() == 0;  // an end gives no text
    const std::string all = bytes({whole[i].begin(), whole[i].end() - (ended ? 1 : 0)});
    const size_t at = all.find(stop);
    const bool stops = at != std::string::npos;
    stopped += stops ? 1 : 0;
    EXPECT_EQ(text.at("text").get<std::string>(), all.substr(0, at)) << i;
    EXPECT_EQ(text.at("finish"), stops ? "stop" : ended ? "end" : "length") << i;
    EXPECT_EQ(text.at("tokens").size(), stops ? at + stop.size() : whole[i].size()) << i;
  }
  EXPECT_GT(stopped, 0u);
  EXPECT_LT(stopped, whole.size());

  // On the screen, where a text appears as it is made.
  const Outcome shown = generate(options + Arguments{"--generate.prompt", "8"});
  EXPECT_EQ(shown.code, 0) << shown.err;
  const std::string first = bytes(whole[0]);
  ASSERT_NE(first.find(stop), std::string::npos);
  EXPECT_EQ(shown.out, first.substr(0, first.find(stop)) + "\n");
}

// max_length counts the prompt, too.
TEST_F(GenerateTest, APromptThatIsLongEnoughLeavesTheOthersTheirTokens) {
  set_decoding({{"eos_token_id", 0}, {"max_length", 10}});
  const std::vector<size_t> numbers = {11, 0, 9, 3};  // of 12, 1, 10 and 4 tokens
  const nlohmann::json found = results({"--generate.prompts", prompts(numbers)});
  ASSERT_EQ(found.size(), numbers.size());
  for (size_t i = 0; i < numbers.size(); ++i) {
    const nlohmann::json& text = found[i].at("texts").at(0);
    const size_t length = found[i].at("prompt_tokens").size();
    Ids wanted = texts("greedy")[numbers[i]];
    wanted.resize(length < 10 ? 10 - length : 0);
    EXPECT_EQ(text.at("tokens").get<Ids>(), wanted) << length;
    EXPECT_EQ(text.at("text").get<std::string>(), bytes(wanted)) << length;
    EXPECT_EQ(text.at("finish"), "length") << length;
  }
  const nlohmann::json none = results({"--generate.prompts", prompts({11, 9})});
  for (const nlohmann::json& each : none) EXPECT_TRUE(each.at("texts").at(0).at("tokens").empty());
}

}  // namespace
}  // namespace temper
