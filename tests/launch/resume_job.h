// Small runs that tests cut and let go on, and what must be the same afterwards.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "launch/checkpoint_folder.h"
#include "tests/launch/arguments.h"
#include "tests/launch/launcher.h"

namespace temper {

inline const Arguments kTraining = {"--train.steps",
                                    "8",
                                    "--train.lr",
                                    "0.01",
                                    "--train.batch",
                                    "6",
                                    "--train.seq",
                                    "32",
                                    "--train.warmup",
                                    "2",
                                    "--train.checkpoint-keep",
                                    "0",
                                    "--train.checkpoint-every",
                                    "2",
                                    "--evaluate.max-tokens",
                                    "256",
                                    "--run.threads",
                                    "1",
                                    "--run.seed",
                                    "3"};

inline Arguments distill(const std::string& dir, const Arguments& more) {
  return Arguments{"distill", "--run.dir",       dir, "--teacher.layers", "2",  "--teacher.width",
                   "48",      "--teacher.heads", "4", "--student.layers", "1",  "--student.width",
                   "32",      "--student.heads", "4", "--loss.alpha",     "0.7"} +
         kTraining + more;
}

inline Arguments train(const std::string& dir, const Arguments& more) {
  return Arguments{"train", "--run.dir",     dir, "--model.layers", "2", "--model.width",
                   "64",    "--model.heads", "4"} +
         kTraining + more;
}

inline std::string latest(const std::string& run) {
  return run + "/checkpoints/" + checkpoint_name(checkpoint_steps(run + "/checkpoints").back());
}

inline size_t temporary_in(const std::string& dir) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir))
    count += entry.path().filename().string().find(".tmp") != std::string::npos;
  return count;
}

/// What is in one folder and not, or otherwise, in the other; manifests hold times and are left
/// out.
inline std::string difference(const std::string& a, const std::string& b) {
  std::string names;
  for (const auto& [from, to] : {std::pair{a, b}, {b, a}}) {
    for (const auto& entry : std::filesystem::directory_iterator(from)) {
      const std::string name = entry.path().filename().string();
      if (name != kManifestFile && read_text(from + "/" + name) != read_text(to + "/" + name))
        names += name + " ";
    }
  }
  return names;
}

/// A run's numbers that do not depend on time, a line a step.
inline void expect_same_metrics(const std::string& a, const std::string& b,
                                const std::string& file = "/metrics.jsonl") {
  const auto lines = [&](const std::string& run) {
    std::string text;
    std::istringstream all(read_text(run + file));
    for (std::string line; std::getline(all, line);) {
      const nlohmann::json json = nlohmann::json::parse(line);
      for (const char* key : {"step", "loss", "kl", "ce", "grad_norm", "lr", "tokens"})
        text += json.at(key).dump() + " ";
      text += '\n';
    }
    return text;
  };
  EXPECT_EQ(lines(a), lines(b)) << file;
}

/// As a kill leaves `run` that comes after the checkpoint of `step`: what was finished before it
/// stays.
inline void cut_back(const std::string& run, int64_t step) {
  for (const int64_t later : checkpoint_steps(run + "/checkpoints")) {
    if (later > step) std::filesystem::remove_all(run + "/checkpoints/" + checkpoint_name(later));
  }
  for (const auto& entry : std::filesystem::directory_iterator(run + "/stages")) {
    if (entry.path().stem() != "teacher") std::filesystem::remove(entry.path());
  }
  for (const char* name : {"student", "model", "summary.json", "report.html"})
    std::filesystem::remove_all(run + "/" + name);
  write_text(run + "/metrics.jsonl", read_text(run + "/metrics.jsonl") + R"({"step": 8, "lo)");
  std::filesystem::create_directories(run + "/checkpoints/step-00000006.tmp");
}

/// All of a run folder.
inline void copy_run(const std::string& from, const std::string& to) {
  std::filesystem::copy(
      from, to,
      std::filesystem::copy_options::recursive | std::filesystem::copy_options::copy_symlinks);
}

}  // namespace temper
