// run.seed of temper write, and of what temper evaluate lets a model write.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/launch/arguments.h"
#include "tests/launch/launcher.h"

namespace temper {
namespace {

TEST(WriteTest, TheSeedChoosesRowsAndDraws) {
  const ScratchDir scratch;
  const Arguments shape = {"--train.seq", "16", "--run.threads", "1"};
  const Outcome trained =
      launch(Arguments{"train", "--run.dir", scratch / "run", "--train.steps", "1", "--train.batch",
                       "2", "--model.layers", "1", "--model.width", "32", "--model.heads", "2",
                       "--evaluate.max-tokens", "64"} +
             shape);
  ASSERT_EQ(trained.code, 0) << trained.err;

  const Arguments model = shape + Arguments{"--model.path", scratch / "run/model"};
  const auto written = [&](const std::string& name, const Arguments& more) {
    const Outcome outcome = launch(
        Arguments{"write", "--write.rows", "4", "--write.output", scratch / name} + model + more);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return read_text(scratch / name);
  };
  const std::string usual = written("usual.npy", {});
  EXPECT_EQ(written("first.npy", {"--run.seed", "1"}), usual);
  EXPECT_NE(written("second.npy", {"--run.seed", "2"}), usual);

  const auto nll = [&](const std::string& seed) {
    const Outcome outcome =
        launch(Arguments{"evaluate", "--evaluate.max-tokens", "64", "--evaluate.writes", "4",
                         "--run.seed", seed, "--json"} +
               model);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out)["writing"]["nll"].get<double>();
  };
  EXPECT_EQ(nll("1"), nll("1"));
  EXPECT_NE(nll("1"), nll("2"));
}

TEST(WriteTest, ASeedBelowZeroIsRefused) {
  for (const Arguments& command : {Arguments{"write", "--write.output", "x"}, {"evaluate"}}) {
    const Outcome outcome = launch(command + Arguments{"--model.path", "x", "--run.seed", "-1"});
    EXPECT_EQ(outcome.code, 2);
    EXPECT_NE(outcome.err.find("--run.seed is -1"), std::string::npos) << outcome.err;
  }
}

}  // namespace
}  // namespace temper
