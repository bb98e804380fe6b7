// The folder that holds everything of a run.
#pragma once

#include <fstream>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "comm/mpi/communicator.h"
#include "launch/run_config.h"

namespace temper {

/// Chooses the folder's name if none is given, makes it, and writes config.ini; on world rank 0,
/// the others learn the name. Throws AgreedError where it cannot be written, or holds a run already
/// and run.overwrite is false; with run.resume a run that trains something else. Collective.
std::string open_run_folder(const RunConfig& config, const std::string& command,
                            const std::string& ini, const Communicator& world);

/// The lines of a metrics.jsonl up to the first that is not of a step before `end`; empty where
/// there is no file.
std::vector<nlohmann::ordered_json> read_metrics_before(const std::string& path, int64_t end);

/// metrics.jsonl: one JSON object a line, each line flushed.
class MetricsFile {
 public:
  MetricsFile() = default;
  /// Keeps the lines of steps before `first_step`, and goes on behind them. Throws c10::Error with
  /// path and reason.
  MetricsFile(const std::string& path, int64_t first_step);
  void write(const nlohmann::json& line);

 private:
  std::string path_;
  std::ofstream file_;
};

}  // namespace temper
