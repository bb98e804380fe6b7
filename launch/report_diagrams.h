// How sure a model is, and how often it is right: reliability diagrams and histograms of
// confidence, before and after calibration.
#pragma once

#include <string>
#include <vector>

namespace temper {

/// A bin of predictions by confidence; bins without tokens are left out of the drawings.
struct ReliabilityBin {
  double tokens = 0;
  double confidence = 0;  ///< mean, 0 to 1
  double accuracy = 0;    ///< mean, 0 to 1
};

/// The equal-width bins of [0, 1] of one model.
struct ReliabilityDiagram {
  std::string title;
  std::string note;
  std::string color;  ///< class: c1 to c5
  std::vector<ReliabilityBin> before, after;
};

/// Accuracy over confidence as a <figure>. Empty if no bin has tokens.
std::string draw(const ReliabilityDiagram& diagram);

/// The share of tokens in each bin as a <figure>; the diagram's note is left out for the mean
/// confidence. Empty if no bin has tokens.
std::string draw_histogram(const ReliabilityDiagram& diagram);

}  // namespace temper
