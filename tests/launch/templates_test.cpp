// The templates for Slurm and quickstart.sh, without Slurm and without a build: the numbers that
// they come with fit the configuration that they come with, and temper takes their options.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <sstream>

#include "tests/launch/arguments.h"
#include "tests/launch/launcher.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

const std::string kRoot = TEMPER_SOURCE_DIR;
// In the place of a script or a program: its arguments, one a line.
constexpr const char* kPrintsArguments = "#!/bin/bash\nprintf '%s\\n' \"$@\"\n";

void write_script(const std::string& path, const std::string& text) {
  write_text(path, text);
  fs::permissions(path, fs::perms::owner_all);
}

Arguments lines_of(const std::string& text) {
  Arguments lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// What `command` printed, line by line.
Arguments output_of(const ScratchDir& scratch, const std::string& command) {
  EXPECT_EQ(std::system((command + " >" + scratch / "out").c_str()), 0) << command;
  return lines_of(read_text(scratch / "out"));
}

/// Ranks of each component of a job, as the #SBATCH lines have them.
std::vector<int> ranks_of(const std::string& path) {
  const std::string mark = "#SBATCH --";
  std::vector<std::map<std::string, int>> components(1);
  for (const std::string& line : lines_of(read_text(path))) {
    if (line == "#SBATCH hetjob") components.emplace_back();
    const size_t equals = line.find('=');
    if (line.rfind(mark, 0) == 0 && equals != std::string::npos)
      components.back()[line.substr(mark.size(), equals - mark.size())] =
          std::atoi(line.c_str() + equals + 1);
  }
  std::vector<int> ranks;
  for (std::map<std::string, int>& values : components) {
    ranks.push_back(values.count("ntasks") != 0 ? values["ntasks"]
                                                : values["nodes"] * values["ntasks-per-node"]);
  }
  return ranks;
}

TEST(TemplatesTest, TheirOwnNumbersFitTheirConfiguration) {
  int found = 0;
  for (const auto& entry : fs::directory_iterator(kRoot + "/launch/slurm")) {
    SCOPED_TRACE(entry.path().string());
    ++found;
    const std::vector<int> components = ranks_of(entry.path().string());
    int ranks = 0;
    for (const int of_component : components) ranks += of_component;
    ASSERT_GT(ranks, 0);

    const ScratchDir scratch;
    fs::create_directory(scratch / "launch");
    write_script(scratch / "launch/run.sh", kPrintsArguments);
    fs::create_directory_symlink(kRoot + "/configs", scratch / "configs");
    Arguments arguments = output_of(
        scratch,
        "env SLURM_JOB_NAME=temper SLURM_JOB_ID=7 SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=3"
        " SLURM_NTASKS=" +
            std::to_string(ranks) +
            " SLURM_NTASKS_PER_NODE=4"
            " SLURM_NTASKS_HET_GROUP_1=" +
            std::to_string(components.back()) + " TEMPER_PROGRAM=the-program SLURM_SUBMIT_DIR=" +
            scratch.path() + " bash " + entry.path().string());
    const auto program = std::find(arguments.begin(), arguments.end(), "the-program");
    ASSERT_NE(program, arguments.end());
    arguments.erase(arguments.begin(), program + 1);
    const Outcome outcome = launch(arguments + Arguments{"--dry-run"}, ranks);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    // What the comments promise of a job that crashed.
    EXPECT_EQ(outcome.out.find("checkpoint-every = 0"), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find("resume = auto"), std::string::npos) << outcome.out;
    if (entry.path().stem() == "seeds") {
      EXPECT_NE(outcome.out.find("\nseeds = 1\n"), std::string::npos) << outcome.out;
    }
  }
  EXPECT_GE(found, 6);
}

TEST(TemplatesTest, QuickstartTakesAnyOptionOnce) {
  const ScratchDir scratch;
  fs::create_directory(scratch / "launch");
  fs::copy(kRoot + "/launch/quickstart.sh", scratch / "launch/quickstart.sh");
  write_text(scratch / "launch/setup.sh",
             "temper_setup() { :; }\ntemper_build() { :; }\nsay() { :; }\n");
  write_script(scratch / "mpirun", kPrintsArguments);
  const auto given = [&](const std::string& from, const std::string& options) {
    Arguments all =
        output_of(scratch, "cd " + from + " && env PATH=" + scratch.path() + ":\"$PATH\" " +
                               scratch / "launch/quickstart.sh " + options);
    const auto command = std::find(all.begin(), all.end(), "distill");
    EXPECT_NE(command, all.end());
    return Arguments(command == all.end() ? command : command + 1, all.end());
  };
  const Arguments config = {"--config", "configs/quickstart.ini"};
  EXPECT_EQ(given(scratch.path(), "--train.steps 50"),
            (config + Arguments{"--run.dir", "runs/quickstart", "--run.overwrite", "true",
                                "--train.steps", "50"}));
  EXPECT_EQ(given(scratch.path(), "--run.dir mine"), (config + Arguments{"--run.dir", "mine"}));
  EXPECT_EQ(given(scratch.path(), "--run.dir=mine"), (config + Arguments{"--run.dir=mine"}));
  EXPECT_EQ(given(scratch.path(), "--run.resume auto"),
            (config + Arguments{"--run.dir", "runs/quickstart", "--run.resume", "auto"}));
  EXPECT_EQ(given(scratch.path(), "--config configs/text.ini"),
            (Arguments{"--run.dir", "runs/quickstart", "--run.overwrite", "true", "--config",
                       "configs/text.ini"}));
  // From elsewhere: the user's paths are of that folder, the defaults stay in the checkout.
  const std::string root = fs::canonical(scratch.path()).string();
  EXPECT_EQ(
      given("/", "--train.steps 5"),
      (Arguments{"--config", root + "/configs/quickstart.ini", "--run.dir",
                 root + "/runs/quickstart", "--run.overwrite", "true", "--train.steps", "5"}));
}

}  // namespace
}  // namespace temper
