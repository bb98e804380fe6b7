// Options: command line over file over default, nearest names, and a resolved configuration that
// gives the same again.
#include "launch/options.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <boost/program_options/value_semantic.hpp>

#include "tests/launch/launcher.h"

namespace temper {
namespace {

namespace po = boost::program_options;

struct Example {
  int64_t steps = 10;
  double lr = 0.1;
  std::string name = "a";
  bool flag = false;
  std::string config;
  po::options_description own, all;

  Example() {
    own.add_options()("config", po::value<std::string>(&config), "")(
        "train.steps", po::value<int64_t>(&steps)->default_value(steps), "how many")(
        "train.lr", po::value<double>(&lr)->default_value(lr), "")(
        "run.name", po::value<std::string>(&name)->default_value(name), "")(
        "run.flag", po::value<bool>(&flag)->default_value(flag), "");
    all.add(own);
    all.add_options()("model.path", po::value<std::string>(), "");
  }

  void parse(const std::vector<std::string>& arguments) {
    parse_options("test", arguments, own, all);
  }

  std::string refusal(const std::vector<std::string>& arguments) {
    try {
      parse(arguments);
    } catch (const c10::ValueError& error) {
      return error.what_without_backtrace();
    }
    return "accepted";
  }
};

TEST(OptionsTest, CommandLineOverFileOverDefault) {
  const ScratchDir scratch;
  write_text(scratch / "a.ini",
             "# comment\n[train]\nsteps = 20   # twenty\nlr = 0.5\n\n[model]\npath = elsewhere\n");
  Example example;
  example.parse({"--config", scratch / "a.ini", "--train.steps", "30", "--run.flag=true"});
  EXPECT_EQ(example.steps, 30);
  EXPECT_EQ(example.lr, 0.5);
  EXPECT_EQ(example.name, "a");
  EXPECT_TRUE(example.flag);
}

TEST(OptionsTest, NegativeNumbersAreValues) {
  Example example;
  example.parse({"--train.lr", "-1"});
  EXPECT_EQ(example.lr, -1);
}

TEST(OptionsTest, UnknownNamesAreRefusedWithTheNearest) {
  EXPECT_NE(Example().refusal({"--train.step", "3"}).find("did you mean --train.steps?"),
            std::string::npos);
  EXPECT_NE(Example().refusal({"--train", "3"}).find("unknown option --train"), std::string::npos);
  EXPECT_NE(Example().refusal({"--model.path", "x"}).find("another command"), std::string::npos);
  EXPECT_NE(Example().refusal({"--train.steps", "many"}).find("many"), std::string::npos);
  EXPECT_NE(Example().refusal({"--train.steps"}).find("train.steps"), std::string::npos);
  EXPECT_NE(Example().refusal({"--train.steps", "1", "--train.steps", "2"}).find("train.steps"),
            std::string::npos);
  EXPECT_EQ(nearest_name("stpes", {"lr", "steps", "seq"}), "steps");
}

TEST(OptionsTest, ResolvedConfigurationGivesTheSameAgain) {
  const ScratchDir scratch;
  Example first;
  const std::vector<std::string> arguments{"--train.lr", "0.30000000000000004", "--run.name",
                                           "two words",  "--run.flag",          "true"};
  write_text(scratch / "r.ini", resolved_ini("test", arguments, first.own, first.all));
  Example again;
  again.parse({"--config", scratch / "r.ini"});
  EXPECT_EQ(again.lr, 0.30000000000000004);
  EXPECT_EQ(again.name, "two words");
  EXPECT_TRUE(again.flag);
  EXPECT_EQ(again.steps, 10);
}

}  // namespace
}  // namespace temper
