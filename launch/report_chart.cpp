#include "launch/report_chart.h"

#include <algorithm>
#include <cmath>

#include "launch/progress.h"
#include "launch/report_svg.h"

namespace temper {

namespace {

/// The mean as a line, the hidden range as a band; a point alone between gaps becomes a dot.
std::string svg_curve(const ChartCurve& curve, const std::vector<ChartBucket>& buckets,
                      const Axis& x, const Axis& y) {
  std::string line, band;
  for (size_t i = 0; i < buckets.size();) {
    if (!std::isfinite(buckets[i].mean)) {
      ++i;
      continue;
    }
    size_t end = i;
    bool ranges = false;
    std::string forth, back;
    for (; end < buckets.size() && std::isfinite(buckets[end].mean); ++end) {
      const ChartBucket& bucket = buckets[end];
      const double at = x(bucket.x);
      line += format("%c%.1f %.1f", end == i ? 'M' : 'L', at, y(bucket.mean));
      forth += format("%c%.1f %.1f", end == i ? 'M' : 'L', at, y(bucket.high));
      back.insert(0, format("L%.1f %.1f", at, y(bucket.low)));
      ranges = ranges || bucket.high > bucket.low;
    }
    if (end - i == 1) line += "h0";
    if (ranges && end - i > 1) band += forth + back + "Z";
    i = end;
  }
  std::string svg;
  if (!band.empty()) svg += "<path class=\"band " + curve.color + "\" d=\"" + band + "\"/>";
  return svg + "<path class=\"line " + curve.color +
         (curve.stroke.empty() ? "" : " " + curve.stroke) + "\" d=\"" + line + "\"/>";
}

/// 1, 2 and 5 times powers of ten inside [low, high].
std::vector<double> log_ticks(double low, double high) {
  std::vector<double> ticks;
  for (int power = static_cast<int>(std::floor(std::log10(low))); power < 40; ++power) {
    for (const double digit : {1.0, 2.0, 5.0}) {
      const double tick = digit * std::pow(10.0, power);
      if (tick > high) return ticks;
      if (tick >= low) ticks.push_back(tick);
    }
  }
  return ticks;
}

}  // namespace

std::vector<ChartBucket> bucket_points(const std::vector<ChartPoint>& points, size_t most) {
  const size_t count = std::min(points.size(), most);
  std::vector<ChartBucket> buckets;
  for (size_t b = 0; b < count; ++b) {
    const size_t begin = b * points.size() / count;
    const size_t end = (b + 1) * points.size() / count;
    double x = 0, sum = 0, low = INFINITY, high = -INFINITY;
    size_t finite = 0;
    for (size_t i = begin; i < end; ++i) {
      x += points[i].x;
      if (!std::isfinite(points[i].y)) continue;
      sum += points[i].y;
      low = std::min(low, points[i].y);
      high = std::max(high, points[i].y);
      ++finite;
    }
    const double mean = finite == 0 ? NAN : sum / static_cast<double>(finite);
    buckets.push_back({x / static_cast<double>(end - begin), mean, low, high});
  }
  return buckets;
}

std::string draw(const LineChart& chart) {
  constexpr double kBottom = 206, kHeight = 244;
  std::vector<std::vector<ChartBucket>> lines;
  std::string legend;
  double left = INFINITY, right = -INFINITY, low = INFINITY, high = -INFINITY;
  for (const ChartCurve& curve : chart.curves) {
    std::vector<ChartPoint> points = curve.points;
    if (chart.log_x) {
      for (ChartPoint& point : points) point.x = std::log(point.x);
    }
    lines.push_back(bucket_points(points, chart.most_buckets));
    bool any = false;
    for (const ChartPoint& point : points) {
      left = std::min(left, point.x);
      right = std::max(right, point.x);
    }
    for (ChartBucket& bucket : lines.back()) {
      if (!chart.bands) bucket.low = bucket.high = bucket.mean;
      if (!std::isfinite(bucket.mean)) continue;
      low = std::min(low, bucket.low);
      high = std::max(high, bucket.high);
      any = true;
    }
    if (any) legend += legend_key(curve.color, curve.stroke, curve.name);
  }
  if (low > high) return "";
  if (left == right) {
    left -= 0.5;
    right += 0.5;
  }
  if (chart.from_zero) low = std::min(low, 0.0);
  if (high - low <= 1e-9 * std::abs(high)) {
    const double margin = high == 0 ? 1 : 0.1 * std::abs(high);
    if (!chart.from_zero) low -= margin;
    high += margin;
  }
  if (chart.percent) {
    low = 0;
    high = 1;
  }
  const std::vector<double> y_values = nice_ticks(low, high, 5);
  const std::vector<std::string> texts =
      chart.percent ? percent_texts(y_values) : tick_texts(y_values);
  const Axis x{left, right, kLeft, kRight};
  const Axis y{y_values.front(), y_values.back(), kBottom, kTop};
  std::vector<double> x_values = nice_ticks(left, right, 5);
  std::erase_if(x_values, [&](double value) {
    return value < left - 1e-9 || value > right + 1e-9 || value != std::round(value);
  });
  std::vector<std::string> x_texts = tick_texts(x_values);
  if (chart.log_x) {
    x_values = log_ticks(std::exp(left), std::exp(right));
    x_texts.clear();
    for (double& value : x_values) {
      x_texts.push_back(format("%g", value));
      value = std::log(value);
    }
  }
  std::string svg = y_ticks(y, y_values, texts) + x_ticks(x, kBottom, x_values, x_texts);
  svg += svg_line("axis", kLeft, kBottom, kRight, kBottom);
  svg += svg_text(4, 12, "start", chart.y_name);
  svg += svg_text(kRight, kHeight - 4, "end", chart.x_name);
  for (size_t i = 0; i < lines.size(); ++i) svg += svg_curve(chart.curves[i], lines[i], x, y);
  for (const ChartMark& mark : chart.marks) {
    const double at = x(chart.log_x ? std::log(mark.x) : mark.x);
    if (!std::isfinite(at) || !std::isfinite(mark.y) || at < kLeft || at > kRight) continue;
    svg += svg_line("diagonal", at, y(mark.y), at, kBottom);
    svg += format("<circle class=\"dot %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>", mark.color.c_str(),
                  at, y(mark.y));
  }
  return figure(chart.title, chart.note, legend, kHeight, svg);
}

}  // namespace temper
