#include "student/bootstrap.h"

#include <algorithm>
#include <cmath>

#include "data/random.h"

namespace temper {

namespace {

constexpr uint64_t kBootstrapStream = 0x626f6f74;  // "boot"

/// The percentile between the nearest two values (NumPy's way).
double percentile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

Interval interval(std::vector<double>& values) {
  std::sort(values.begin(), values.end());
  return {percentile(values, 0.025), percentile(values, 0.975)};
}

}  // namespace

Intervals bootstrap(const std::vector<SequenceSums>& sequences, uint64_t seed) {
  Intervals result;
  result.sequences = static_cast<int64_t>(sequences.size());
  if (result.sequences < 2) return result;
  std::vector<double> nll, accuracy, brier, ece;
  for (uint64_t resample = 0; resample < kBootstrapResamples; ++resample) {
    RandomStream random{kBootstrapStream, seed, resample};
    SequenceSums sum;
    for (size_t draw = 0; draw < sequences.size(); ++draw) {
      const SequenceSums& one = sequences[random.below(sequences.size())];
      sum.tokens += one.tokens;
      sum.nll += one.nll;
      sum.brier += one.brier;
      sum.correct += one.correct;
      for (int bin = 0; bin < kCalibrationBins; ++bin) sum.gaps[bin] += one.gaps[bin];
    }
    double gaps = 0;
    for (const double gap : sum.gaps) gaps += std::abs(gap);
    nll.push_back(sum.nll / sum.tokens);
    accuracy.push_back(sum.correct / sum.tokens);
    brier.push_back(sum.brier / sum.tokens);
    ece.push_back(gaps / sum.tokens);
  }
  result.nll = interval(nll);
  result.accuracy = interval(accuracy);
  result.brier = interval(brier);
  result.ece = interval(ece);
  return result;
}

}  // namespace temper
