// Runs that are cut and go on: to the bits of a run that was not, in every layout and every stage.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/launch/resume_job.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

struct Layout {
  const char* name;
  int ranks;
  Arguments options;
};

const std::vector<Layout> kLayouts = {
    {"colocated", 1, {}},
    {"colocated, 2 ranks, sharded optimizer, bf16",
     2,
     {"--train.shard-optimizer", "true", "--run.precision", "bf16", "--train.micro-batch", "2"}},
    {"1 teacher, 2 students, hidden states matched",
     3,
     {"--launch.teachers", "1", "--teacher.payload", "hidden", "--loss.hidden-weight", "0.5"}},
    {"1 teacher, 2 students, sharded optimizer, a trained teacher, rows of the student",
     3,
     {"--launch.teachers", "1", "--train.shard-optimizer", "true", "--teacher.train-steps", "3",
      "--train.on-policy", "0.4"}},
    {"colocated, 2 ranks, bf16, tokens of the student mixed in",
     2,
     {"--run.precision", "bf16", "--train.micro-batch", "1", "--train.scheduled-sampling", "0.8"}},
};

// Show: 2N steps against N, resume and N.
TEST(ResumeTest, GoesOnToTheBitsOfARunThatWasNotCut) {
  for (const Layout& layout : kLayouts) {
    const ScratchDir scratch;
    const std::string whole = scratch / "whole", cut = scratch / "cut";
    Outcome outcome = launch(distill(whole, layout.options), layout.ranks);
    ASSERT_EQ(outcome.code, 0) << layout.name << outcome.err;
    copy_run(whole, cut);
    cut_back(cut, 4);
    outcome =
        launch(distill(cut, layout.options + Arguments{"--run.resume", "auto"}), layout.ranks);
    ASSERT_EQ(outcome.code, 0) << layout.name << outcome.err;
    EXPECT_NE(outcome.err.find("checkpoints/step-00000004: step 4, saved by "), std::string::npos)
        << outcome.err;
    expect_same_metrics(whole, cut);
    if (layout.options.size() > 1 && fs::exists(whole + "/teacher")) {
      EXPECT_EQ(difference(whole + "/teacher", cut + "/teacher"), "");
      EXPECT_NE(outcome.err.find("resume  teacher: finished before"), std::string::npos);
    }
    for (const int64_t step : {6, 8}) {
      const std::string name = "/checkpoints/" + checkpoint_name(step);
      EXPECT_EQ(difference(whole + name, cut + name), "") << layout.name;
    }
    EXPECT_EQ(difference(whole + "/student", cut + "/student"), "") << layout.name;
    EXPECT_EQ(temporary_in(cut), 0u);
    std::printf("  %s: the same bits in %zu files of the last checkpoint\n", layout.name,
                read_manifest(latest(cut)).files.size());
  }
}

// Show: another number of ranks, of either role, with and without shards.
TEST(ResumeTest, GoesOnWithOtherRanks) {
  const ScratchDir scratch;
  const std::string whole = scratch / "whole";
  const Arguments options = {"--launch.teachers",       "1",    "--teacher.payload",    "hidden",
                             "--train.shard-optimizer", "true", "--loss.hidden-weight", "0.5"};
  Outcome outcome = launch(distill(whole, options), 3);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const std::vector<double> wanted = metric(whole + "/metrics.jsonl", "loss");
  const std::vector<Layout> others = {
      {"colocated, alone", 0, {"--launch.teachers", "0", "--train.shard-optimizer", "false"}},
      {"colocated, 3 ranks", 3, {"--launch.teachers", "0"}},
      {"2 teachers, 1 student", 3, {"--launch.teachers", "2"}},
      {"1 teacher, 3 students", 4, {"--train.micro-batch", "1"}},
      {"1 teacher, 2 students, whole optimizer", 3, {"--train.shard-optimizer", "false"}}};
  for (const Layout& other : others) {
    const std::string cut = scratch / "cut";
    copy_run(whole, cut);
    cut_back(cut, 4);
    outcome = launch(distill(cut, options + other.options + Arguments{"--run.resume", "auto"}),
                     other.ranks);
    ASSERT_EQ(outcome.code, 0) << other.name << outcome.err;
    EXPECT_NE(outcome.err.find("step 4, saved by 2 students and 1 teacher"), std::string::npos)
        << outcome.err;
    EXPECT_EQ(metric(whole + "/metrics.jsonl", "tokens"), metric(cut + "/metrics.jsonl", "tokens"));
    const std::vector<double> losses = metric(cut + "/metrics.jsonl", "loss");
    ASSERT_EQ(losses.size(), wanted.size());
    double largest = 0;
    for (size_t i = 0; i < losses.size(); ++i)
      largest = std::max(largest, std::abs(losses[i] - wanted[i]) / wanted[i]);
    EXPECT_LE(largest, 1e-4) << other.name;
    std::printf("  from 1 teacher and 2 students to %s: losses differ by %.1e\n", other.name,
                largest);
    fs::remove_all(cut);
  }
}

TEST(ResumeTest, TheBestCheckpointStaysAndNoBitChanges) {
  const ScratchDir scratch;
  const std::string plain = scratch / "plain", best = scratch / "best";
  // From step 4 on the learning rate spoils the student: the last checkpoint is not the best.
  const Arguments options = {"--launch.teachers", "1", "--train.lr-schedule", "step 0:1,4:100"};
  Outcome outcome = launch(distill(plain, options), 3);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  outcome = launch(distill(best, options + Arguments{"--train.checkpoint-best", "true",
                                                     "--train.checkpoint-keep", "1"}),
                   3);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto checkpoint = [](const std::string& run, int64_t step) {
    return run + "/checkpoints/" + checkpoint_name(step);
  };
  expect_same_metrics(plain, best);
  EXPECT_EQ(difference(plain + "/student", best + "/student"), "");
  EXPECT_EQ(difference(checkpoint(plain, 8), checkpoint(best, 8)), "");
  EXPECT_FALSE(fs::exists(fs::symlink_status(plain + "/checkpoints/best")));

  // What evaluate finds in the checkpoints of the run that did not look.
  std::map<double, int64_t> step_of_nll;
  for (const int64_t step : {2, 4, 6, 8}) {
    const Outcome judged = launch({"evaluate", "--model.path", checkpoint(plain, step),
                                   "--evaluate.part", "fit", "--train.seq", "32",
                                   "--evaluate.max-tokens", "256", "--run.threads", "1", "--json"});
    ASSERT_EQ(judged.code, 0) << judged.err;
    step_of_nll[nlohmann::json::parse(judged.out).at("nll").get<double>()] = step;
  }
  const auto [nll, step] = *step_of_nll.begin();
  ASSERT_LE(step, 4);
  EXPECT_EQ(fs::read_symlink(best + "/checkpoints/best"), checkpoint_name(step));
  EXPECT_EQ(checkpoint_steps(best + "/checkpoints"), (std::vector<int64_t>{step, 8}));
  EXPECT_EQ(difference(checkpoint(plain, step), checkpoint(best, step)), "");
  EXPECT_NEAR(read_manifest(checkpoint(best, step)).nll.value_or(0), nll, 1e-5);
}

TEST(ResumeTest, EachStageIsKeptAsItIsFinished) {
  const ScratchDir scratch;
  const std::string whole = scratch / "whole";
  const Arguments options = {"--compare.hard-labels", "true", "--compare.seeds",   "2",
                             "--teacher.train-steps", "4",    "--log.tensorboard", "true"};
  ASSERT_EQ(launch(distill(whole, options)).code, 0);
  const auto results = [](const std::string& run) {
    return nlohmann::json::parse(read_text(run + "/summary.json")).at("results");
  };
  for (const char* stage : {"teacher", "distilled-1", "hard-labels-1", "distilled-2"}) {
    // Cut in this stage, which has not saved anything yet.
    const std::string cut = scratch / "cut";
    copy_run(whole, cut);
    bool later = false;
    for (const char* each :
         {"teacher", "distilled-1", "hard-labels-1", "distilled-2", "hard-labels-2"}) {
      later = later || each == std::string(stage);
      if (later) fs::remove(cut + "/stages/" + each + ".json");
    }
    fs::remove(cut + "/summary.json");
    const Outcome outcome = launch(distill(cut, options + Arguments{"--run.resume", "auto"}), 0);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(results(cut), results(whole)) << stage;
    for (const char* file :
         {"/metrics.jsonl", "/teacher-metrics.jsonl", "/hard-labels-metrics.jsonl"})
      expect_same_metrics(whole, cut, file);
    EXPECT_EQ(outcome.err.find("resume  teacher: finished before") != std::string::npos,
              std::string(stage) != "teacher")
        << outcome.err;
    fs::remove_all(cut);
  }
  // All of it done: the table once more.
  const Outcome again = launch(distill(whole, options + Arguments{"--run.resume", "auto"}));
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_NE(again.out.find("student, hard labels"), std::string::npos) << again.out;
  EXPECT_EQ(again.err.find("distil  "), std::string::npos) << again.err;
}

TEST(ResumeTest, AutoIsSafeAtTheFirstStartAndAfterTheLast) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run", other = scratch / "other";
  const Arguments automatic = {"--run.resume", "auto"};
  Outcome outcome = launch(train(dir, automatic));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("no checkpoint of train yet, it begins at step 0"), std::string::npos)
      << outcome.err;
  ASSERT_EQ(launch(train(other, {})).code, 0);
  expect_same_metrics(dir, other);
  EXPECT_EQ(difference(dir + "/model", other + "/model"), "");
  outcome = launch(train(dir, automatic));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("this run is finished"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.out.find("model: " + dir + "/model"), std::string::npos) << outcome.out;

  // A checkpoint by its name; the run folder follows from it.
  outcome = launch({"train", "--config", dir + "/config.ini", "--run.dir", "", "--run.resume",
                    dir + "/checkpoints/step-00000004"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("step-00000004: step 4"), std::string::npos) << outcome.err;
  expect_same_metrics(dir, other);
  EXPECT_EQ(difference(latest(dir), latest(other)), "");

  // It is a folder that evaluate opens.
  const Outcome judged = launch({"evaluate", "--model.path", dir + "/checkpoints/latest",
                                 "--train.seq", "32", "--evaluate.max-tokens", "256"});
  EXPECT_EQ(judged.code, 0) << judged.err;
}

TEST(ResumeTest, WhatWouldTrainSomethingElseIsRefusedWithBothValues) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  ASSERT_EQ(launch(train(dir, {})).code, 0);
  const std::string before = read_text(dir + "/metrics.jsonl");
  const auto refused = [&](const std::string& words, const Arguments& arguments, int ranks = 0) {
    const Outcome outcome = launch(arguments, ranks);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
  };
  refused(
      "has train.lr 0.01, here it is 0.02: that would train something else; give --train.lr "
      "0.01",
      train(dir, {"--run.resume", "auto", "--train.lr", "0.02"}), 2);
  refused("has run.seed 3, here it is 4", train(dir, {"--run.resume", "auto", "--run.seed", "4"}));
  refused("is of another command", distill(dir, {"--run.resume", "auto"}));
  refused("holds a run already", train(dir, {}));
  refused("--run.resume auto without --run.dir", train("", {"--run.resume", "auto"}));
  refused("--run.resume nowhere: No such file", train(dir, {"--run.resume", "nowhere"}));
  refused("is no checkpoint", train(dir, {"--run.resume", dir}));
  refused("is a checkpoint of " + dir,
          train(scratch / "other", {"--run.resume", dir + "/checkpoints/step-00000004"}));
  EXPECT_EQ(read_text(dir + "/metrics.jsonl"), before);

  // A new run in the same folder takes nothing of the old one.
  ASSERT_EQ(launch(train(dir, {"--run.overwrite", "true", "--train.lr", "0.02",
                               "--train.checkpoint-every", "0"}))
                .code,
            0);
  EXPECT_EQ(checkpoint_steps(dir + "/checkpoints").size(), 1u);  // after the last step
}

TEST(ResumeTest, ARefusedOverwriteLeavesTheOldRunAsItWas) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  ASSERT_EQ(launch(train(dir, {})).code, 0);
  std::map<std::string, std::string> before;
  for (const char* file : {"/config.ini", "/metrics.jsonl", "/summary.json", "/stages/train.json"})
    before[file] = read_text(dir + file);
  Outcome outcome = launch(train(dir, {"--run.overwrite", "true", "--train.lr", "0.02",
                                       "--data.source", "text", "--data.text", "/nowhere"}));
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  for (const auto& [file, content] : before) EXPECT_EQ(read_text(dir + file), content) << file;
  // Its result is not taken for one of the new learning rate.
  outcome = launch(train(dir, {"--run.resume", "auto", "--train.lr", "0.02"}));
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  EXPECT_NE(outcome.err.find("has train.lr 0.01, here it is 0.02"), std::string::npos)
      << outcome.err;

  // One that begins takes all of it away: what it cannot finish does not look finished.
  outcome = launch(
      train(dir, {"--run.overwrite", "true", "--train.lr", "0.02", "--debug.fault", "0:0:throw"}));
  EXPECT_EQ(outcome.code, 1) << outcome.err;
  for (const char* file : {"/summary.json", "/report.html", "/stages/train.json"})
    EXPECT_FALSE(fs::exists(dir + file)) << file;
  EXPECT_TRUE(checkpoint_steps(dir + "/checkpoints").empty());
  EXPECT_NE(read_text(dir + "/config.ini").find("lr = 0.02\n"), std::string::npos);
}

TEST(ResumeTest, AResultOfOtherDataIsNotTaken) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run", text = scratch / "text";
  const auto write_lines = [&](const std::string& words) {
    std::string lines;
    for (int i = 0; i < 1000; ++i) lines += words + " " + std::to_string(i * i) + "\n";
    write_text(text, lines);
  };
  const Arguments data = {"--data.source", "text", "--data.text", text};
  const Arguments again = data + Arguments{"--run.resume", "auto"};
  for (const bool distils : {false, true}) {
    const auto job = [&](const Arguments& more) {
      return launch(distils ? distill(dir, more) : train(dir, more));
    };
    write_lines("a line of the first text");
    Outcome outcome = job(data);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    write_lines("a line of another text");
    outcome = job(again);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    const std::string stage = dir + "/stages/" + (distils ? "distilled-1" : "train") + ".json";
    for (const std::string& words :
         {stage + ": data is ", std::string(", here it is "),
          std::string("go on with the data and the tokenizer that the run began with")})
      EXPECT_NE(outcome.err.find(words), std::string::npos) << words << outcome.err;
    // As an earlier version wrote it: the result alone.
    write_lines("a line of the first text");
    const std::string whole = read_text(stage), metrics = read_text(dir + "/metrics.jsonl");
    write_text(stage, nlohmann::json::parse(whole).at("result").dump());
    outcome = job(again);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_NE(outcome.err.find(stage + ": does not say of which data"), std::string::npos)
        << outcome.err;
    // What it says to do helps: only the evaluation is done again.
    fs::remove(stage);
    outcome = job(again);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(read_text(dir + "/metrics.jsonl"), metrics);
    EXPECT_EQ(nlohmann::json::parse(read_text(stage)).at("data"),
              nlohmann::json::parse(whole).at("data"));
    fs::remove_all(dir);
  }
}

TEST(ResumeTest, AStoreThatWasBeingRecordedIsCompletedByItsOwnCommand) {
  const ScratchDir scratch;
  const std::string whole = scratch / "whole", cut = scratch / "cut", store = scratch / "store";
  const Arguments options = {"--launch.teachers", "1", "--teacher.tee", store};
  ASSERT_EQ(launch(distill(whole, options), 3).code, 0);
  copy_run(whole, cut);
  cut_back(cut, 4);
  std::map<std::string, std::string> shards;
  for (const auto& entry : fs::directory_iterator(store)) {
    if (entry.path().extension() == ".soft")
      shards[entry.path().string()] = read_text(entry.path().string());
  }
  ASSERT_EQ(shards.size(), 2u);
  for (const auto& [path, content] : shards) fs::remove(path);
  Outcome outcome = launch(distill(cut, options + Arguments{"--run.resume", "auto"}), 3);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("lacks 2 of 2 shards"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("temper record --config " + store + "/config.ini"), std::string::npos)
      << outcome.err;
  expect_same_metrics(whole, cut);
  outcome = launch({"record", "--config", store + "/config.ini", "--record.store", store});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  for (const auto& [path, content] : shards) EXPECT_EQ(read_text(path), content) << path;

  // With other students it can go on when that one is finished, and not before.
  const Arguments alone = options + Arguments{"--launch.teachers", "0", "--run.resume", "auto"};
  outcome = launch(distill(cut, alone));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  cut_back(cut, 4);
  outcome = launch(distill(cut, alone));
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  EXPECT_NE(outcome.err.find("start as many student ranks, 2, or name another folder"),
            std::string::npos)
      << outcome.err;
}

}  // namespace
}  // namespace temper
