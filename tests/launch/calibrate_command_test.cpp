// temper calibrate as a user runs it.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/launch/arguments.h"
#include "tests/launch/launcher.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

TEST(CalibrateTest, WritesTheTemperatureAndNothingElse) {
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

}  // namespace
}  // namespace temper
