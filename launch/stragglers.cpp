#include "launch/stragglers.h"

#include <algorithm>

#include "launch/progress.h"

namespace temper {

std::optional<std::string> Stragglers::add(const std::vector<double>& seconds) {
  if (seconds.size() < 2 || seconds.size() != names_.size()) return std::nullopt;
  sums_.resize(seconds.size(), 0.0);
  for (size_t i = 0; i < seconds.size(); ++i) sums_[i] += seconds[i];
  if (++steps_ < kWindow) return std::nullopt;
  steps_ = 0;
  std::vector<double> means;
  std::swap(means, sums_);
  const auto slowest = std::max_element(means.begin(), means.end());
  const auto rank = static_cast<size_t>(slowest - means.begin());
  const double most = *slowest;
  means.erase(slowest);
  const auto middle = means.begin() + static_cast<std::ptrdiff_t>(means.size() / 2);
  std::nth_element(means.begin(), middle, means.end());
  const double factor = most / std::max(1e-9, *middle);
  if (factor < kFactor) {
    said_ = -1;
    return std::nullopt;
  }
  if (said_ == static_cast<int>(rank)) return std::nullopt;
  said_ = static_cast<int>(rank);
  return format("%s is slow: its own work took %.1f times that of the others over %d steps",
                names_[rank].c_str(), factor, kWindow);
}

}  // namespace temper
