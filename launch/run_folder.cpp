#include "launch/run_folder.h"

#include <c10/util/Exception.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "comm/agree.h"
#include "data/atomic_file.h"
#include "launch/options.h"
#include "launch/resumption.h"
#include "launch/same_training.h"

namespace temper {

namespace fs = std::filesystem;

namespace {

constexpr const char* kConfiguration = "config.ini";

std::string default_dir(const std::string& command) {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm local{};
  localtime_r(&now, &local);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", &local);
  std::string dir = "runs/" + command + "-" + text;
  for (int n = 2; fs::exists(dir); ++n)
    dir = "runs/" + command + "-" + text + "-" + std::to_string(n);
  return dir;
}

/// That of the checkpoint, where one is named to go on from.
std::string folder_of(const RunConfig& config, const std::string& command) {
  const bool named = config.resume != "no" && config.resume != "auto";
  if (!named) return config.dir.empty() ? default_dir(command) : config.dir;
  const std::string run = run_of_checkpoint(config.resume);
  std::error_code none;
  TORCH_CHECK_VALUE(config.dir.empty() || fs::equivalent(config.dir, run, none), "--run.resume ",
                    config.resume, " is a checkpoint of ", run, ", and --run.dir is ", config.dir,
                    "; leave run.dir out");
  return config.dir.empty() ? run : config.dir;
}

std::string read_text_file(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  TORCH_CHECK_VALUE(file && text << file.rdbuf(), path, ": cannot be read; name another --run.dir");
  return text.str();
}

// Each of these may be all that is left of a run, and the next one would write over it. A job that
// was refused before its first step leaves its configuration and no more; that may be written
// again. A config.ini that temper did not write may not.
bool holds_run(const std::string& dir) {
  std::error_code ignored;
  for (const char* name : {"metrics.jsonl", "teacher-metrics.jsonl", "summary.json", "report.html",
                           "checkpoints", "stages", "student", "model", "teacher"}) {
    if (fs::exists(fs::path(dir) / name, ignored)) return true;
  }
  std::ifstream config(fs::path(dir) / kConfiguration);
  std::string first;
  return std::getline(config, first) && first.rfind(kResolvedIniMark, 0) != 0;
}

}  // namespace

std::string check_run_folder(const RunConfig& config, const std::string& command,
                             const std::string& ini) {
  const std::string dir = folder_of(config, command);
  if (config.resume != "no" && holds_run(dir)) {
    const std::string path = dir + "/" + kConfiguration;
    check_same_training(read_text_file(path), ini, path);
  } else {
    TORCH_CHECK_VALUE(config.overwrite || !holds_run(dir), "--run.dir ", dir,
                      " holds a run already: name another folder, go on with it by --run.resume "
                      "auto, or give --run.overwrite true");
  }
  return dir;
}

LockedFolder open_run_folder(const RunConfig& config, const std::string& command,
                             const std::string& ini, const Communicator& world) {
  LockedFolder folder;
  agree(world, [&] {
    if (world.rank() != 0) return;
    const std::string dir = folder.path = check_run_folder(config, command, ini);
    std::error_code error;
    fs::create_directories(dir, error);
    TORCH_CHECK_VALUE(!error && fs::is_directory(dir), "--run.dir ", dir,
                      ": cannot make this folder (", error ? error.message() : "it is a file",
                      "); name one that you may write to");
    TORCH_CHECK_VALUE(::access(dir.c_str(), W_OK | X_OK) == 0, "--run.dir ", dir, ": ",
                      std::strerror(errno), "; name a folder that you may write to");
    folder.lock = FolderLock(dir, "--run.dir");
  });
  folder.path = world.broadcast(folder.path, 0);
  return folder;
}

void write_run_configuration(const std::string& dir, const std::string& ini) {
  const std::string path = dir + "/" + kConfiguration;
  std::error_code ignored;
  if (!ini.empty() && fs::file_size(path, ignored) == ini.size() && read_text_file(path) == ini)
    return;
  try {
    write_text_file(path, ini);
  } catch (const c10::Error& e) {
    TORCH_CHECK_VALUE(false, "--run.dir ", dir, ": ", e.what_without_backtrace(),
                      "; name a folder that you may write to");
  }
}

bool has_run_configuration(const std::string& dir) {
  std::error_code ignored;
  return fs::exists(fs::path(dir) / kConfiguration, ignored);
}

void clear_run_folder(const std::string& dir) {
  if (!holds_run(dir)) return;
  std::error_code ignored;
  // Last what says that there is a run, so that it is cleared to the end after a kill.
  for (const char* name : {"hard-labels-metrics.jsonl", "report.html", "teacher-metrics.jsonl",
                           "summary.json", "metrics.jsonl"})
    fs::remove(fs::path(dir) / name, ignored);
}

void remove_unfinished_run_files(const std::string& dir) {
  for (const char* folder : {"", "/stages", "/student", "/model", "/teacher"})
    remove_unfinished_files(dir + folder);
}

std::vector<nlohmann::ordered_json> read_metrics_before(const std::string& path, int64_t end) {
  std::vector<nlohmann::ordered_json> lines;
  std::ifstream file(path);
  for (std::string text; std::getline(file, text);) {
    nlohmann::ordered_json line =
        nlohmann::ordered_json::parse(text, /*callback=*/nullptr, /*allow_exceptions=*/false);
    if (!line.is_object() || !line.contains("step") || !line["step"].is_number_integer() ||
        line["step"] >= end)
      break;  // of a later step, or half of a line of a job that was killed
    lines.push_back(std::move(line));
  }
  return lines;
}

MetricsFile::MetricsFile(const std::string& path, int64_t first_step) : path_(path) {
  std::string kept;
  for (const nlohmann::ordered_json& line : read_metrics_before(path, first_step))
    kept += line.dump() + '\n';
  if (!kept.empty()) write_text_file(path, kept);
  file_.open(path, kept.empty() ? std::ios::trunc : std::ios::app);
  TORCH_CHECK(file_, "cannot write ", path, ": ", std::strerror(errno));
}

void MetricsFile::write(const nlohmann::json& line) {
  if (path_.empty()) return;
  errno = 0;
  file_ << line.dump() << '\n' << std::flush;
  TORCH_CHECK(file_, "cannot write ", path_, ": ", std::strerror(errno));
}

}  // namespace temper
