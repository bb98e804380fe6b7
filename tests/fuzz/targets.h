// What is fuzzed: readers of files that strangers made.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace temper {

struct FuzzTarget {
  std::string name;
  std::vector<std::string> seeds;  ///< valid files, to be mutated
  std::string file;                ///< where the mutant is written, below the work folder
  /// Opens it and uses all that it holds. May throw c10::ValueError, and nothing else.
  std::function<void()> use;
};

/// `source` is the project's folder; `work` an empty folder for the files.
std::vector<FuzzTarget> fuzz_targets(const std::string& source, const std::string& work);

}  // namespace temper
