// Names a rank that is slower than its peers, step after step: all of them wait for it.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace temper {

class Stragglers {
 public:
  /// `names`: of each rank, for a person.
  explicit Stragglers(std::vector<std::string> names) : names_(std::move(names)) {}

  /// Of one step: the seconds of each rank's own work, without waiting, per sequence (what they are
  /// per does not matter, as long as it is the same for all). After kWindow steps: a line about the
  /// slowest rank, if it takes kFactor times the median of the others, and is not the one that the
  /// line before was about.
  std::optional<std::string> add(const std::vector<double>& seconds);

  static constexpr int kWindow = 20;
  static constexpr double kFactor = 1.5;

 private:
  std::vector<std::string> names_;
  std::vector<double> sums_;
  int steps_ = 0;
  int said_ = -1;  // rank
};

}  // namespace temper
