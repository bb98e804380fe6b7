// Starts the real program the way a user does, under mpirun or alone, and keeps what it printed.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace temper {

struct Outcome {
  int code = -1;  ///< exit code; 124 if it had to be stopped
  std::string out;
  std::string err;
  double seconds = 0;
};

/// Runs `temper ARGUMENTS…` with `ranks` ranks under mpirun (0: without mpirun), stopped after
/// `timeout_s`.
Outcome launch(const std::vector<std::string>& arguments, int ranks = 0, int timeout_s = 120);

/// Some of a job's ranks, with their own arguments and working directory (empty: the test's).
struct RankGroup {
  int ranks = 1;
  std::vector<std::string> arguments;
  std::string working_dir;
};
/// One job under mpirun of several groups, the first ranks in the first.
Outcome launch_groups(const std::vector<RankGroup>& groups, int timeout_s = 120);

/// A new empty folder below the system's temporary folder, removed by the destructor.
class ScratchDir {
 public:
  ScratchDir();
  ~ScratchDir();
  ScratchDir(const ScratchDir&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string read_text(const std::string& path);
void write_text(const std::string& path, const std::string& content);

/// One number of each line of a metrics.jsonl; NaN where it is null.
std::vector<double> metric(const std::string& path, const std::string& key);

}  // namespace temper
