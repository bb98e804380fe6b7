// Options that would have no effect, beside what others say: each is refused with both names, the
// value and the remedy, and its default is accepted, which every resolved configuration holds.
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <boost/program_options/value_semantic.hpp>

#include "launch/command.h"
#include "launch/options.h"
#include "tests/launch/arguments.h"

namespace temper {
namespace {

namespace po = boost::program_options;

/// What the command says to these arguments before anything is opened.
std::string verdict(const std::string& name, const Arguments& arguments) {
  for (const auto& command : all_commands()) {
    if (command->name() != name) continue;
    std::string config;
    po::options_description own;
    own.add_options()("config", po::value<std::string>(&config), "");
    command->add_options(own);
    try {
      parse_options(name, arguments, own, own);
      command->validate();
    } catch (const c10::ValueError& error) {
      return error.what_without_backtrace();
    }
    return "accepted";
  }
  return "no such command";
}

std::string verdict(const Arguments& arguments) { return verdict("distill", arguments); }

/// The message begins with the option and its value, and has the words.
void expect_refused(const std::string& said, const std::string& begin, const Arguments& words) {
  EXPECT_EQ(said.find(begin), 0u) << said;
  for (const std::string& word : words) EXPECT_NE(said.find(word), std::string::npos) << said;
}

TEST(IdleOptionsTest, DefaultsAreAccepted) {
  EXPECT_EQ(verdict({}), "accepted");
  EXPECT_EQ(verdict({"--loss.beta", "0.5", "--loss.tail", "bucket", "--loss.hidden-kind", "cosine",
                     "--loss.alpha", "1", "--loss.label-smoothing", "0", "--loss.hard-temperature",
                     "1", "--loss.hard-rescale", "true", "--train.writing-temperature", "1",
                     "--train.prompt", "0"}),
            "accepted");
  EXPECT_EQ(verdict({"--loss.beta", "0:0.5,100%:0.5"}), "accepted");
  EXPECT_EQ(verdict("train", {"--train.prompt", "0"}), "accepted");
  EXPECT_EQ(verdict("evaluate", {"--model.path", "x", "--evaluate.writing-temperature", "1"}),
            "accepted");
}

TEST(IdleOptionsTest, WritingWithoutAnythingToWrite) {
  const Arguments temperature = {"--train.writing-temperature", "0.7"};
  expect_refused(verdict(temperature), "--train.writing-temperature is 0.7",
                 {"--train.on-policy 0", "give --train.on-policy above 0"});
  EXPECT_EQ(verdict(temperature + Arguments{"--train.on-policy", "0.5"}), "accepted");

  const Arguments evaluate = {"--model.path", "x", "--evaluate.writing-temperature", "0"};
  expect_refused(verdict("evaluate", evaluate), "--evaluate.writing-temperature is 0",
                 {"--evaluate.writes 0", "give --evaluate.writes a number"});
  EXPECT_EQ(verdict("evaluate", evaluate + Arguments{"--evaluate.writes", "8"}), "accepted");
}

TEST(IdleOptionsTest, APromptThatNothingLooksAt) {
  const Arguments prompt = {"--train.prompt", "8"};
  expect_refused(verdict(prompt), "--train.prompt is 8",
                 {"--train.completion-only true", "--train.on-policy", "--train.prompt 0"});
  EXPECT_EQ(verdict(prompt + Arguments{"--train.completion-only", "true"}), "accepted");
  // Its file may be for on-policy distillation, which train does not know.
  EXPECT_EQ(verdict("train", prompt), "accepted");
  EXPECT_EQ(verdict(prompt + Arguments{"--train.on-policy", "0.5"}), "accepted");
  // Scheduled sampling has no prompt.
  expect_refused(verdict(prompt + Arguments{"--train.scheduled-sampling", "0.5"}),
                 "--train.prompt is 8", {});
}

TEST(IdleOptionsTest, BetaOfADivergenceWithoutOne) {
  for (const char* kind : {"forward-kl", "reverse-kl", "tvd"}) {
    for (const char* beta : {"0.3", "0:0.5,100%:0.9"}) {
      expect_refused(verdict({"--loss.beta", beta, "--loss.kind", kind}),
                     std::string("--loss.beta is ") + beta,
                     {std::string("--loss.kind ") + kind, "give --loss.kind jsd or mixed"});
    }
  }
  for (const char* kind : {"jsd", "mixed"})
    EXPECT_EQ(verdict({"--loss.beta", "0:0.5,100%:0.9", "--loss.kind", kind}), "accepted");
}

TEST(IdleOptionsTest, HiddenKindWithoutAWeight) {
  const Arguments kind = {"--loss.hidden-kind", "mse", "--teacher.payload", "hidden"};
  expect_refused(verdict(kind), "--loss.hidden-kind is mse",
                 {"--loss.hidden-weight 0", "give --loss.hidden-weight above 0"});
  EXPECT_EQ(verdict(kind + Arguments{"--loss.hidden-weight", "1"}), "accepted");
}

TEST(IdleOptionsTest, TheTailOfAPayloadWithoutOne) {
  const Arguments tail = {"--loss.tail", "renormalise"};
  for (const char* payload : {"full", "hidden", "sample"}) {
    expect_refused(verdict(tail + Arguments{"--teacher.payload", payload}),
                   "--loss.tail is renormalise",
                   {std::string("--teacher.payload ") + payload, "give --teacher.payload topk"});
  }
  EXPECT_EQ(verdict(tail + Arguments{"--teacher.payload", "topk"}), "accepted");
  // The planner may be asked about several payloads.
  EXPECT_EQ(verdict("plan", tail + Arguments{"--plan.payloads", "hidden,topk"}), "accepted");
  expect_refused(verdict("plan", tail), "--loss.tail is renormalise", {"--teacher.payload full"});
}

TEST(IdleOptionsTest, HardLabelsThatNoStepHas) {
  const std::vector<std::pair<Arguments, std::string>> reasons = {
      {{"--loss.alpha", "1"}, "--loss.alpha 1"},
      {{"--loss.alpha", "0:1,100%:1"}, "--loss.alpha 0:1,100%:1"},
      {{"--train.on-policy", "1"}, "--train.on-policy 1"}};
  const std::vector<std::pair<std::string, std::string>> options = {
      {"--loss.label-smoothing", "0.1"},
      {"--loss.hard-temperature", "2"},
      {"--loss.hard-rescale", "false"}};
  for (const auto& [option, value] : options) {
    const Arguments own = {option, value};
    for (const auto& [more, reason] : reasons) {
      expect_refused(verdict(own + more), option + " is " + value,
                     {reason, "--compare.hard-labels true"});
      // The comparison learns from hard labels.
      EXPECT_EQ(verdict(own + more + Arguments{"--compare.hard-labels", "true"}), "accepted");
    }
    for (const Arguments& some :
         std::vector<Arguments>{{}, {"--loss.alpha", "0:1,100%:0.5"}, {"--train.on-policy", "0.9"}})
      EXPECT_EQ(verdict(own + some), "accepted") << option;
    EXPECT_EQ(verdict("train", own), "accepted");
  }
  // These two ask nothing of labels.
  EXPECT_EQ(
      verdict({"--loss.alpha", "1", "--loss.z-loss", "1e-4", "--loss.confidence-penalty", "0.1"}),
      "accepted");
}

TEST(IdleOptionsTest, EntriesOfAnotherPayload) {
  const Arguments topk = {"--teacher.topk", "32"}, draws = {"--teacher.draws", "3"};
  for (const std::string command : {"distill", "record"}) {
    const Arguments place = command == "record" ? Arguments{"--record.store", "x"} : Arguments{};
    for (const char* payload : {"full", "hidden", "sample"}) {
      expect_refused(
          verdict(command, place + topk + Arguments{"--teacher.payload", payload}),
          "--teacher.topk is 32",
          {std::string("--teacher.payload is ") + payload, "give --teacher.payload topk"});
    }
    expect_refused(verdict(command, place + draws), "--teacher.draws is 3",
                   {"--teacher.payload is full", "give --teacher.payload sample"});
    EXPECT_EQ(verdict(command, place + topk + Arguments{"--teacher.payload", "topk"}), "accepted");
    EXPECT_EQ(verdict(command, place + draws + Arguments{"--teacher.payload", "sample"}),
              "accepted");
    EXPECT_EQ(verdict(command, place + Arguments{"--teacher.topk", "64", "--teacher.draws", "12"}),
              "accepted");
  }
  // plan looks at several payloads, and at the one that distill would have.
  EXPECT_EQ(verdict("plan", draws), "accepted");
  EXPECT_EQ(verdict("plan", topk + Arguments{"--teacher.payload", "topk"}), "accepted");
  expect_refused(verdict("plan", topk), "--teacher.topk is 32", {});
}

TEST(IdleOptionsTest, ADecayThatTheScheduleHasNot) {
  const Arguments share = {"--train.decay-share", "0.5"};
  for (const char* command : {"distill", "train"}) {
    expect_refused(verdict(command, share), "--train.decay-share is 0.5",
                   {"--train.lr-schedule is cosine", "give --train.lr-schedule wsd"});
    EXPECT_EQ(verdict(command, share + Arguments{"--train.lr-schedule", "wsd"}), "accepted");
  }
}

TEST(IdleOptionsTest, ARunThatGoesOnAndBeginsAnew) {
  const Arguments both = {"--run.dir", "x", "--run.resume", "auto", "--run.overwrite", "true"};
  for (const char* command : {"distill", "train"})
    expect_refused(verdict(command, both), "--run.resume auto",
                   {"--run.overwrite true", "give --run.overwrite false, or --run.resume no"});
}

TEST(IdleOptionsTest, DataOfAnotherSource) {
  for (const std::string source : {"builtin", "text"}) {
    const Arguments more = source == "text" ? Arguments{"--data.text", "x"} : Arguments{};
    expect_refused(verdict(Arguments{"--data.tokens", "ids.npy", "--data.source", source} + more),
                   "--data.tokens is ids.npy, but --data.source is " + source,
                   {"add --data.source tokens"});
  }
}

TEST(IdleOptionsTest, ShapesOfModelsThatAreOpenedAsTheyAre) {
  for (const char* command : {"evaluate", "calibrate", "write"})
    expect_refused(verdict(command, {"--model.path", "x", "--model.layers", "3"}),
                   "unknown option --model.layers", {});
}

}  // namespace
}  // namespace temper
