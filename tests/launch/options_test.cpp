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

  ConfigFile parse(const std::vector<std::string>& arguments) {
    return parse_options("test", arguments, own, all);
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
  write_text(
      scratch / "a.ini",
      "# comment\n[train]\nsteps = 20\n  # two = 2\nlr = 0.5\n\n[model]\npath = elsewhere\n");
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

TEST(OptionsTest, ResolvedConfigurationHoldsEveryText) {
  const ScratchDir scratch;
  std::vector<std::string> texts = {
      "###", "### Question:", "a\tb", "line\nbreak", "\r",   "/data/#1", "a = b", "[train]", "\\n",
      "\\",  "\"quoted\"",    "\"\"", "\"a\" b",     "true", "\n# x"};
  for (char c = ' '; c <= '~'; ++c) {
    const std::string one(1, c);
    for (const std::string& text : {one, one + one, " " + one, one + " ", "a" + one, one + "a",
                                    "a " + one + " b", "\t" + one + "\t"})
      texts.push_back(text);
  }
  for (const std::string& text : texts) {
    Example first;
    const std::string ini = resolved_ini("test", {"--run.name=" + text}, first.own, first.all);
    write_text(scratch / "r.ini", ini);
    Example again;
    again.parse({"--config", scratch / "r.ini"});
    EXPECT_EQ(again.name, text) << ini;
    EXPECT_EQ(resolved_ini("test", {"--config", scratch / "r.ini"}, again.own, again.all), ini);
  }
}

/// What is said to a file of this text.
std::string said_of(const ScratchDir& scratch, const std::string& text) {
  write_text(scratch / "a.ini", text);
  const std::string said = Example().refusal({"--config", scratch / "a.ini"});
  const size_t folder = said.find(scratch.path() + "/");
  return folder == std::string::npos ? said : said.substr(folder + scratch.path().size() + 1);
}

TEST(OptionsTest, AHashBelongsToTheValueOrIsAsked) {
  const ScratchDir scratch;
  const auto name_in = [&](const std::string& value) {
    write_text(scratch / "a.ini", "[run]\nname = " + value + "\n");
    Example example;
    example.parse({"--config", scratch / "a.ini"});
    return example.name;
  };
  EXPECT_EQ(name_in("/data/#1/x"), "/data/#1/x");
  EXPECT_EQ(name_in("###"), "###");
  EXPECT_EQ(name_in("  \"a # b \"  "), "a # b ");
  EXPECT_EQ(name_in("\"two\\nlines, \\\"one\\\"\""), "two\nlines, \"one\"");
  EXPECT_EQ(name_in("\"\""), "");
  EXPECT_EQ(said_of(scratch, "[train]\n\nsteps = 20   # twenty\n"),
            "a.ini, line 3: train.steps is '20   # twenty': a comment stands on a line of its own; "
            "if the # belongs to the value, put the value in double quotes");
  EXPECT_NE(
      said_of(scratch, "[run]\nname = # none\n").find("a comment stands on a line of its own"),
      std::string::npos);
  EXPECT_NE(said_of(scratch, "[run]\nname = \"a\" b\"\n").find("quotation mark within its quotes"),
            std::string::npos);
  EXPECT_NE(said_of(scratch, "[run]\nname = \"C:\\data\"\n").find("where a backslash begins"),
            std::string::npos);
}

TEST(OptionsTest, WhatIsWrongInAFileIsFoundThere) {
  const ScratchDir scratch;
  for (const auto& [text, words] : std::vector<std::pair<std::string, std::string>>{
           {"[train]\nsteps = many\n", "a.ini, line 2: train.steps is 'many': give a whole number"},
           {"[train]\nsteps =\n", "a.ini, line 2: train.steps is '': give a whole number"},
           {"[run]\nflag =\n", "a.ini, line 2: run.flag is '': give true or false"},
           {"[train]\nlr = 1e-3\n[run]\nname = b\n[train]\nlr = 2\n",
            "a.ini, line 6: train.lr stands in line 2 already: give it once"},
           {"[train]\nstpes = 5\n",
            "a.ini, line 2: unknown key train.stpes: did you mean train.steps?"},
           {"steps = 5\n",
            "a.ini, line 1: steps stands below no section: write it below its section, [train]"},
           {"name = b\n",
            "a.ini, line 1: name stands below no section: write it below its section, [run]"},
           {"config = other.ini\n", "a.ini, line 1: config can be given on the command line alone"},
           {"[train]\nsteps 5\n",
            "a.ini, line 2 is 'steps 5': lines are [section], key = value, or # comment"},
           {"[train\nsteps = 5\n", "a.ini, line 1 is '[train': lines are [section]"},
           {"[]\nsteps = 5\n", "a.ini, line 1 is '[]': lines are [section]"}})
    EXPECT_EQ(said_of(scratch, text).find(words), 0u) << said_of(scratch, text);
}

TEST(OptionsTest, TheFileItselfMustBeOne) {
  const ScratchDir scratch;
  write_text(scratch / "empty.ini", "");
  Example example;
  EXPECT_EQ(example.refusal({"--config", scratch / "empty.ini"}), "accepted");  // no options
  EXPECT_EQ(example.steps, 10);
  EXPECT_NE(Example().refusal({"--config", ""}).find("--config is empty: name an INI file"),
            std::string::npos);
  EXPECT_NE(Example()
                .refusal({"--config", scratch / "none.ini"})
                .find("--config " + scratch / "none.ini: No such file"),
            std::string::npos);
  EXPECT_NE(Example().refusal({"--config", scratch.path()}).find("not a regular file"),
            std::string::npos);
}

TEST(OptionsTest, AValueOfAnotherTypeIsAnsweredWithTheType) {
  uint64_t seed = 1;
  const auto said = [&](const std::string& option, const std::string& value) {
    Example example;
    example.own.add_options()("data.seed", po::value<uint64_t>(&seed)->default_value(1), "");
    return example.refusal({"--" + option, value});
  };
  EXPECT_EQ(said("train.steps", "1e3"), "--train.steps is '1e3': give a whole number");
  EXPECT_EQ(said("train.steps", ""), "--train.steps is '': give a whole number");
  EXPECT_EQ(said("train.steps", "99999999999999999999"),
            "--train.steps is '99999999999999999999': give a whole number; this one has too many "
            "digits");
  EXPECT_EQ(said("train.lr", "fast"), "--train.lr is 'fast': give a number");
  EXPECT_EQ(said("run.flag", "maybe"), "--run.flag is 'maybe': give true or false");
  EXPECT_EQ(said("run.flag", ""), "--run.flag is '': give true or false");
  EXPECT_EQ(said("data.seed", "-1"), "--data.seed is '-1': give a whole number of at least 0");
  EXPECT_EQ(said("run.name", ""), "accepted");
}

TEST(OptionsTest, KeysOfOtherCommandsAreNamedButForAConfigurationThatARunWrote) {
  const ScratchDir scratch;
  const std::string keys = "[train]\nsteps = 3\n[model]\npath = x\n";
  write_text(scratch / "a.ini", keys);
  const ConfigFile file = Example().parse({"--config", scratch / "a.ini"});
  EXPECT_EQ(file.path, scratch / "a.ini");
  EXPECT_EQ(file.unused, std::vector<std::string>{"model.path"});
  write_text(scratch / "a.ini", std::string(kResolvedIniMark) + "train: ...\n" + keys);
  EXPECT_TRUE(Example().parse({"--config", scratch / "a.ini"}).unused.empty());
}

TEST(OptionsTest, WhatIsRefusedLaterIsFoundInTheFileToo) {
  const ScratchDir scratch;
  write_text(scratch / "a.ini", "[train]\nsteps = 0\nlr = 1\n");
  const auto said = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"--config", scratch / "a.ini"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    Example example;
    const ConfigFile file = example.parse(arguments);
    try {
      file.locate([&] {
        TORCH_CHECK_VALUE(example.steps > 0, "--train.steps is ", example.steps, ": give 1; not ",
                          "--train.lr");
      });
    } catch (const c10::ValueError& error) {
      return std::string(error.what_without_backtrace());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(said({}), "--train.steps is 0: give 1; not --train.lr (it stands in " +
                          scratch / "a.ini, line 2)");
  EXPECT_EQ(said({"--train.steps", "-1"}), "--train.steps is -1: give 1; not --train.lr");
  EXPECT_EQ(said({"--train.steps", "1"}), "accepted");
}

}  // namespace
}  // namespace temper
