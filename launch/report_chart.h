// Drawings of a run's report as inline SVG: curves over steps and reliability diagrams. They are
// plain text without scripts or fonts of their own, and take their colours from classes of the
// page's style sheet (c1 to c5), so that light, dark and print need one drawing. Debian has no
// plotting library for C++ that is worth a dependency.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace temper {

/// `&<>"'` as entities: safe as content and inside quoted attributes.
std::string escape_html(const std::string& text);

/// A point of a curve. A y that is not finite makes a gap.
struct ChartPoint {
  double x = 0;
  double y = 0;
};

struct ChartCurve {
  std::string name;
  std::string color;               ///< class: c1 to c5
  std::vector<ChartPoint> points;  ///< ascending x
  bool dashed = false;
};

struct LineChart {
  std::string title;
  std::string note;    ///< a sentence under the title; may be empty
  std::string y_name;  ///< with unit
  std::vector<ChartCurve> curves;
  bool from_zero = false;     ///< the y axis starts at 0
  bool percent = false;       ///< y is a share: the axis goes from 0 to 100%
  size_t most_buckets = 300;  ///< a curve; fewer are smoother
  bool bands = true;          ///< show the range that a bucket hides
};

/// A run of neighbouring points as one: the mean, and the range that it hides.
struct ChartBucket {
  double x = 0;
  double mean = 0;  ///< NaN if no y in the bucket is finite
  double low = 0;
  double high = 0;
};

/// At most `most` buckets of (nearly) equally many points, in order; one a point if there are few.
std::vector<ChartBucket> bucket_points(const std::vector<ChartPoint>& points, size_t most);

/// Round numbers 1, 2 or 5 times a power of ten apart, about `count` of them, that enclose [low,
/// high]. Both finite, low < high.
std::vector<double> nice_ticks(double low, double high, int count);

/// A <figure>: title, note, legend and drawing over training steps; means of buckets as lines,
/// their ranges as faint bands. Empty if no curve has a finite point.
std::string draw(const LineChart& chart);

/// A bin of a reliability diagram; bins without tokens are left out of the drawing.
struct ReliabilityBin {
  double tokens = 0;
  double confidence = 0;  ///< mean, 0 to 1
  double accuracy = 0;    ///< mean, 0 to 1
};

/// Accuracy over confidence before and after calibration; beneath it the share of tokens in each
/// bin.
struct ReliabilityDiagram {
  std::string title;
  std::string note;
  std::string color;                          ///< class: c1 to c5
  std::vector<ReliabilityBin> before, after;  ///< equal-width bins of [0, 1]
};

/// A <figure>. Empty if no bin has tokens.
std::string draw(const ReliabilityDiagram& diagram);

}  // namespace temper
