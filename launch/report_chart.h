// Curves of a report: what a run did over its steps, and the NLL over the temperature.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace temper {

/// A point of a curve. A y that is not finite makes a gap.
struct ChartPoint {
  double x = 0;
  double y = 0;
};

struct ChartCurve {
  std::string name;
  std::string color;               ///< class: c1 to c5
  std::vector<ChartPoint> points;  ///< ascending x
  std::string stroke = {};         ///< class: empty, dashed or dotted
};

/// A point that is marked on a chart, with a line down to the x axis.
struct ChartMark {
  double x = 0;
  double y = 0;
  std::string color;  ///< class: c1 to c5
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
  std::string x_name = "step";
  bool log_x = false;  ///< all x > 0
  std::vector<ChartMark> marks = {};
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

/// A <figure>: title, note, legend and drawing over x; means of buckets as lines,
/// their ranges as faint bands. Empty if no curve has a finite point.
std::string draw(const LineChart& chart);

}  // namespace temper
