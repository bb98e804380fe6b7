#include "launch/report_chart.h"

#include <algorithm>
#include <cmath>

#include "launch/progress.h"

namespace temper {

namespace {

// The unit of all drawings is about a CSS pixel: cards are 340 to 420 px wide, so that text stays
// readable without a script.
constexpr double kWidth = 400;
constexpr double kLeft = 46, kRight = 380, kTop = 24;

/// A number's way from an axis' values to the drawing's units.
struct Axis {
  double from, to;    // values
  double start, end;  // units
  double operator()(double value) const {
    return start + (value - from) / (to - from) * (end - start);
  }
};

/// Texts of ticks with as many digits as their distance needs: "2.5", "40k", "3e-4".
std::vector<std::string> tick_texts(const std::vector<double>& ticks) {
  double largest = 0;
  for (const double tick : ticks) largest = std::max(largest, std::abs(tick));
  const double step = ticks.size() > 1 ? ticks[1] - ticks[0] : largest;
  double unit = 1;
  const char* suffix = "";
  if (largest >= 1e9) {
    unit = 1e9;
    suffix = "G";
  } else if (largest >= 1e6) {
    unit = 1e6;
    suffix = "M";
  } else if (largest >= 1e4) {
    unit = 1e3;
    suffix = "k";
  }
  std::vector<std::string> texts;
  for (const double tick : ticks) {
    if (tick == 0) {
      texts.emplace_back("0");
    } else if (largest < 0.01) {
      const int power = static_cast<int>(std::floor(std::log10(std::abs(tick)) + 1e-9));
      texts.push_back(format("%.3ge%d", tick / std::pow(10.0, power), power));
    } else {
      const int digits =
          std::clamp(static_cast<int>(std::ceil(-std::log10(step / unit) - 1e-9)), 0, 6);
      texts.push_back(format("%.*f%s", digits, tick / unit, suffix));
    }
  }
  return texts;
}

std::string svg_text(double x, double y, const char* anchor, const std::string& text) {
  return format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor) +
         escape_html(text) + "</text>";
}

std::string svg_line(const char* kind, double x1, double y1, double x2, double y2) {
  return format("<path class=\"%s\" d=\"M%.1f %.1fL%.1f %.1f\"/>", kind, x1, y1, x2, y2);
}

std::string y_ticks(const Axis& y, const std::vector<double>& ticks,
                    const std::vector<std::string>& texts) {
  std::string svg;
  for (size_t i = 0; i < ticks.size(); ++i) {
    svg += svg_line("rule", kLeft, y(ticks[i]), kRight, y(ticks[i]));
    svg += svg_text(kLeft - 6, y(ticks[i]) + 4, "end", texts[i]);
  }
  return svg;
}

std::string x_ticks(const Axis& x, double bottom, const std::vector<double>& ticks,
                    const std::vector<std::string>& texts) {
  std::string svg;
  for (size_t i = 0; i < ticks.size(); ++i) {
    svg += svg_line("tick", x(ticks[i]), bottom, x(ticks[i]), bottom + 4);
    svg += svg_text(x(ticks[i]), bottom + 17, "middle", texts[i]);
  }
  return svg;
}

std::string legend_key(const std::string& color, bool dashed, const std::string& name) {
  return "<span class=\"key\"><i class=\"" + color + (dashed ? " dashed" : "") + "\"></i>" +
         escape_html(name) + "</span>";
}

std::string figure(const std::string& title, const std::string& note, const std::string& legend,
                   double height, const std::string& drawing) {
  return "<figure><figcaption><b>" + escape_html(title) + "</b>" +
         (note.empty() ? "" : "<small>" + escape_html(note) + "</small>") +
         "<span class=\"keys\">" + legend + "</span></figcaption>\n" +
         format("<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", kWidth, height) +
         escape_html(title) + "\">" + drawing + "</svg></figure>\n";
}

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
  return svg + "<path class=\"line " + curve.color + (curve.dashed ? " dashed" : "") + "\" d=\"" +
         line + "\"/>";
}

}  // namespace

std::string escape_html(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

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

std::vector<double> nice_ticks(double low, double high, int count) {
  const double rough = (high - low) / count;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double digit = rough / power;
  const double step = (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10) * power;
  const double first = std::floor(low / step + 1e-9);
  const double last = std::ceil(high / step - 1e-9);
  std::vector<double> ticks;
  for (double n = first; n <= last && ticks.size() < 100; ++n) ticks.push_back(n * step);
  return ticks;
}

std::string draw(const LineChart& chart) {
  constexpr double kBottom = 206, kHeight = 244;
  std::vector<std::vector<ChartBucket>> lines;
  std::string legend;
  double left = INFINITY, right = -INFINITY, low = INFINITY, high = -INFINITY;
  for (const ChartCurve& curve : chart.curves) {
    lines.push_back(bucket_points(curve.points, chart.most_buckets));
    bool any = false;
    for (const ChartPoint& point : curve.points) {
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
    if (any) legend += legend_key(curve.color, curve.dashed, curve.name);
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
  std::vector<std::string> texts = tick_texts(y_values);
  if (chart.percent) {
    for (size_t i = 0; i < texts.size(); ++i) texts[i] = format("%.0f%%", 100 * y_values[i]);
  }
  const Axis x{left, right, kLeft, kRight};
  const Axis y{y_values.front(), y_values.back(), kBottom, kTop};
  std::vector<double> x_values = nice_ticks(left, right, 5);
  std::erase_if(x_values, [&](double value) {
    return value < left - 1e-9 || value > right + 1e-9 || value != std::round(value);
  });
  std::string svg =
      y_ticks(y, y_values, texts) + x_ticks(x, kBottom, x_values, tick_texts(x_values));
  svg += svg_line("axis", kLeft, kBottom, kRight, kBottom);
  svg += svg_text(4, 12, "start", chart.y_name);
  svg += svg_text(kRight, kHeight - 4, "end", "step");
  for (size_t i = 0; i < lines.size(); ++i) svg += svg_curve(chart.curves[i], lines[i], x, y);
  return figure(chart.title, chart.note, legend, kHeight, svg);
}

std::string draw(const ReliabilityDiagram& diagram) {
  constexpr double kBottom = 254, kStripTop = 300, kStripBottom = 346, kHeight = 384;
  const auto tokens_of = [](const std::vector<ReliabilityBin>& bins) {
    double sum = 0;
    for (const ReliabilityBin& bin : bins) sum += std::isfinite(bin.tokens) ? bin.tokens : 0;
    return sum;
  };
  const double tokens = std::max(tokens_of(diagram.before), tokens_of(diagram.after));
  if (!(tokens > 0)) return "";

  struct Side {
    const std::vector<ReliabilityBin>& bins;
    const std::string kind;
    const char* name;
    double offset;  // of its bar, in widths of a bin
  };
  const Side sides[] = {{diagram.before, "before", "before", 0.08},
                        {diagram.after, diagram.color, "after calibration", 0.5}};
  double most = 0;
  for (const Side& side : sides) {
    for (const ReliabilityBin& bin : side.bins) {
      if (std::isfinite(bin.tokens)) most = std::max(most, bin.tokens / tokens);
    }
  }
  const Axis x{0, 1, kLeft, kRight};
  const Axis y{0, 1, kBottom, kTop};
  const Axis strip{0, most, kStripBottom, kStripTop};
  const std::vector<double> ticks{0, 0.2, 0.4, 0.6, 0.8, 1};
  const std::vector<std::string> texts{"0%", "20%", "40%", "60%", "80%", "100%"};

  std::string svg = y_ticks(y, ticks, texts);
  svg += svg_line("axis", kLeft, kBottom, kRight, kBottom);
  svg += svg_line("diagonal", x(0), y(0), x(1), y(1));
  svg += svg_text(4, 12, "start", "accuracy");
  svg += svg_text(4, kStripTop - 12, "start", "share of tokens in each bin");
  for (const double share : {0.0, most}) {
    svg += svg_line("rule", kLeft, strip(share), kRight, strip(share));
    svg += svg_text(kLeft - 6, strip(share) + 4, "end", format("%.0f%%", 100 * share));
  }
  svg += x_ticks(x, kStripBottom, ticks, texts);
  svg += svg_text(kRight, kHeight - 4, "end", "confidence");

  std::string legend;
  for (const Side& side : sides) {
    std::string line, dots;
    const double width = 1.0 / static_cast<double>(std::max<size_t>(1, side.bins.size()));
    for (size_t i = 0; i < side.bins.size(); ++i) {
      const ReliabilityBin& bin = side.bins[i];
      if (!(bin.tokens > 0) || !std::isfinite(bin.confidence) || !std::isfinite(bin.accuracy)) {
        continue;
      }
      const double share = bin.tokens / tokens;
      line += format("%c%.1f %.1f", line.empty() ? 'M' : 'L', x(bin.confidence), y(bin.accuracy));
      dots += format("<circle class=\"dot %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>",
                     side.kind.c_str(), x(bin.confidence), y(bin.accuracy));
      const double from = x((static_cast<double>(i) + side.offset) * width);
      dots += format("<path class=\"bar %s\" d=\"M%.1f %.1fH%.1fV%.1fH%.1fZ\"/>", side.kind.c_str(),
                     from, strip(0), x((static_cast<double>(i) + side.offset + 0.42) * width),
                     strip(share), from);
    }
    if (line.empty()) continue;
    svg += "<path class=\"line " + side.kind + "\" d=\"" + line + "\"/>" + dots;
    legend += legend_key(side.kind, false, side.name);
  }
  if (legend.empty()) return "";
  return figure(diagram.title, diagram.note, legend, kHeight, svg);
}

}  // namespace temper
