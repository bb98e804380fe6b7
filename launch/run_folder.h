// The folder that holds everything of a run.
#pragma once

#include <fstream>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "comm/mpi/communicator.h"
#include "launch/run_config.h"

namespace temper {

/// Chooses the folder's name if none is given, makes it, and writes config.ini; on world rank 0,
/// the others learn the name. Throws AgreedError where it cannot be written, or holds a run already
/// and run.overwrite is false. Collective.
std::string open_run_folder(const RunConfig& config, const std::string& command,
                            const std::string& ini, const Communicator& world);

/// metrics.jsonl: one JSON object a line, each line flushed.
class MetricsFile {
 public:
  MetricsFile() = default;
  /// Throws c10::Error with path and reason.
  explicit MetricsFile(const std::string& path);
  void write(const nlohmann::json& line);

 private:
  std::string path_;
  std::ofstream file_;
};

}  // namespace temper
