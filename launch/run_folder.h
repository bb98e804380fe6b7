// The folder that holds everything of a run.
#pragma once

#include <fstream>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "comm/mpi/communicator.h"
#include "data/folder_lock.h"
#include "launch/run_config.h"

namespace temper {

struct LockedFolder {
  std::string path;
  FolderLock lock;  ///< on world rank 0
};

/// Chooses the folder's name if none is given, makes and locks it; on world rank 0, the others
/// learn the name. What is there is not changed yet. Throws AgreedError where it cannot be written
/// to, another job writes to it, or it holds a run already and run.overwrite is false; with
/// run.resume a run that trains something else. Collective.
LockedFolder open_run_folder(const RunConfig& config, const std::string& command,
                             const std::string& ini, const Communicator& world);

/// The folder that open_run_folder() would take; nothing is made (for --dry-run). Throws
/// c10::ValueError likewise.
std::string check_run_folder(const RunConfig& config, const std::string& command,
                             const std::string& ini);

/// DIR/config.ini, the resolved configuration. Throws c10::ValueError naming --run.dir, the reason
/// and the remedy.
void write_run_configuration(const std::string& dir, const std::string& ini);
bool has_run_configuration(const std::string& dir);

/// Removes what of an earlier run in `dir`, if it holds one, would be taken for the next one's: its
/// numbers and its report. Models stay until there are new ones.
void clear_run_folder(const std::string& dir);

/// Removes what a killed job left half written in `dir` and in its folders of stages and models.
void remove_unfinished_run_files(const std::string& dir);

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
