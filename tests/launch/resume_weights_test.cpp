// A run that is cut goes on only with the weights that it began with, wherever they lie by then.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/launch/resume_job.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

const Arguments kGoesOn = {"--run.resume", "auto"};

/// Its job is refused as a user's error, with these words and without a change to the run.
void expect_refused(const Arguments& arguments, const std::string& run,
                    const std::vector<std::string>& words, int ranks = 0) {
  const std::string before = read_text(run + "/metrics.jsonl");
  const Outcome outcome = launch(arguments, ranks);
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  for (const std::string& each : words)
    EXPECT_NE(outcome.err.find(each), std::string::npos) << each << "\n" << outcome.err;
  EXPECT_EQ(read_text(run + "/metrics.jsonl"), before);
}

std::string first_weights(const std::string& json) {
  return nlohmann::json::parse(read_text(json)).at("first_weights");
}

TEST(ResumeWeightsTest, ATrainingKeepsToItsModelPath) {
  const ScratchDir scratch;
  const std::string base = scratch / "base", run = scratch / "run", moved = scratch / "moved";
  ASSERT_EQ(launch(train(base, {})).code, 0);
  EXPECT_EQ(first_weights(base + "/stages/train.json"), "random");
  const auto tuned = [&](const std::string& model, const Arguments& more) {
    return Arguments{"train", "--run.dir", run, "--model.path", model} + kTraining + more;
  };
  ASSERT_EQ(launch(tuned(base + "/model", {})).code, 0);
  const std::string print = first_weights(run + "/stages/train.json");
  EXPECT_EQ(print.size(), 32u);
  EXPECT_EQ(first_weights(latest(run) + "/manifest.json"), print);

  // Of another training: the same shape, other weights. Both when all is done and when it is cut.
  const std::string other = base + "/checkpoints/step-00000002";
  const std::vector<std::string> words = {
      ": first_weights is " + print + ", here it is ", ", by --model.path " + other,
      "go on with the weights that the run began with, name another --run.dir, or begin anew with "
      "--run.resume no --run.overwrite true"};
  expect_refused(tuned(other, kGoesOn), run, words);
  const std::vector<double> wanted = metric(run + "/metrics.jsonl", "loss");
  cut_back(run, 4);
  expect_refused(tuned(other, kGoesOn), run, words, /*ranks=*/2);

  fs::rename(base + "/model", moved);
  const Outcome outcome = launch(tuned(moved, kGoesOn));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(metric(run + "/metrics.jsonl", "loss"), wanted);
}

TEST(ResumeWeightsTest, AStudentKeepsToItsFolderAndToItsTeachersLayers) {
  const ScratchDir scratch;
  const std::string teacher = scratch / "teacher", run = scratch / "run", init = scratch / "init";
  ASSERT_EQ(launch(train(teacher, {})).code, 0);
  const auto job = [&](const Arguments& more) {
    return Arguments{"distill", "--run.dir", run, "--teacher.path", teacher + "/model"} +
           kTraining + more;
  };
  fs::copy(teacher + "/checkpoints/step-00000002", init);
  const Arguments from_folder = {"--student.init", init, "--launch.teachers", "1"};
  ASSERT_EQ(launch(job(from_folder), 2).code, 0);
  cut_back(run, 4);
  const std::string print = first_weights(latest(run) + "/manifest.json");
  fs::remove_all(init);
  fs::copy(teacher + "/checkpoints/step-00000004", init);
  expect_refused(job(from_folder + kGoesOn), run,
                 {"/step-00000004/manifest.json: first_weights is " + print + ", here it is ",
                  ", by --student.init " + init + " (weights of " + init + ")"},
                 2);
  fs::remove_all(init);
  fs::copy(teacher + "/checkpoints/step-00000002", init);
  Outcome outcome = launch(job(from_folder + kGoesOn), 2);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(first_weights(run + "/stages/distilled-1.json"), print);

  fs::remove_all(run);
  const auto of_layer = [&](const std::string& layer, const Arguments& more) {
    return job(Arguments{"--student.init", "teacher", "--student.keep-layers", layer,
                         "--compare.hard-labels", "true"} +
               more);
  };
  ASSERT_EQ(launch(of_layer("0", {})).code, 0);
  cut_back(run, 4);
  expect_refused(of_layer("1", kGoesOn), run, {"has student.keep-layers 0, here it is 1"});
  // A baseline on hard labels is of no teacher; what it begins with is.
  const std::string stages = run + "/stages/";
  outcome = launch(of_layer("0", kGoesOn));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(first_weights(stages + "hard-labels-1.json"),
            first_weights(stages + "distilled-1.json"));
}

}  // namespace
}  // namespace temper
