#include "launch/report_diagrams.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "launch/progress.h"
#include "launch/report_svg.h"

namespace temper {

namespace {

const std::vector<double> kShares{0, 0.2, 0.4, 0.6, 0.8, 1};

struct Side {
  const std::vector<ReliabilityBin>& bins;
  std::string color;
  const char* name;
  double offset;  // of its bar, in widths of a bin
};

std::array<Side, 2> sides_of(const ReliabilityDiagram& diagram) {
  return {Side{diagram.before, "before", "before", 0.08},
          Side{diagram.after, diagram.color, "after calibration", 0.5}};
}

double tokens_of(const std::vector<ReliabilityBin>& bins) {
  double sum = 0;
  for (const ReliabilityBin& bin : bins) sum += std::isfinite(bin.tokens) ? bin.tokens : 0;
  return sum;
}

double mean_confidence(const std::vector<ReliabilityBin>& bins) {
  double sum = 0;
  for (const ReliabilityBin& bin : bins) {
    if (bin.tokens > 0) sum += bin.tokens * bin.confidence;
  }
  return sum / tokens_of(bins);
}

}  // namespace

std::string draw(const ReliabilityDiagram& diagram) {
  constexpr double kBottom = 254, kHeight = 292;
  const Axis x{0, 1, kLeft, kRight};
  const Axis y{0, 1, kBottom, kTop};
  std::string svg = y_ticks(y, kShares, percent_texts(kShares));
  svg += svg_line("axis", kLeft, kBottom, kRight, kBottom);
  svg += svg_line("diagonal", x(0), y(0), x(1), y(1));
  svg += svg_text(4, 12, "start", "accuracy, share of the bin's tokens");
  svg += x_ticks(x, kBottom, kShares, percent_texts(kShares));
  svg += svg_text(kRight, kHeight - 4, "end", "confidence, mean of the bin");
  std::string legend;
  for (const Side& side : sides_of(diagram)) {
    std::string line, dots;
    for (const ReliabilityBin& bin : side.bins) {
      if (!(bin.tokens > 0) || !std::isfinite(bin.confidence) || !std::isfinite(bin.accuracy))
        continue;
      line += format("%c%.1f %.1f", line.empty() ? 'M' : 'L', x(bin.confidence), y(bin.accuracy));
      dots += format("<circle class=\"dot %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>",
                     side.color.c_str(), x(bin.confidence), y(bin.accuracy));
    }
    if (line.empty()) continue;
    svg += "<path class=\"line " + side.color + "\" d=\"" + line + "\"/>" + dots;
    legend += legend_key(side.color, "", side.name);
  }
  return legend.empty() ? "" : figure(diagram.title, diagram.note, legend, kHeight, svg);
}

std::string draw_histogram(const ReliabilityDiagram& diagram) {
  constexpr double kBottom = 166, kHeight = 204;
  double most = 0;
  std::string legend, note;
  for (const Side& side : sides_of(diagram)) {
    const double tokens = tokens_of(side.bins);
    if (!(tokens > 0)) continue;
    for (const ReliabilityBin& bin : side.bins) {
      if (std::isfinite(bin.tokens)) most = std::max(most, bin.tokens / tokens);
    }
    legend += legend_key(side.color, "", side.name);
    const double mean = mean_confidence(side.bins);
    if (std::isfinite(mean))
      note += (note.empty() ? "mean confidence " : " → ") + format("%.2f%%", 100 * mean);
  }
  if (legend.empty()) return "";
  const std::vector<double> shares = nice_ticks(0, most, 4);
  const Axis x{0, 1, kLeft, kRight};
  const Axis y{0, shares.back(), kBottom, kTop};
  std::string svg = y_ticks(y, shares, percent_texts(shares));
  svg += svg_text(4, 12, "start", "share of tokens");
  svg += x_ticks(x, kBottom, kShares, percent_texts(kShares));
  svg += svg_text(kRight, kHeight - 4, "end", "confidence");
  for (const Side& side : sides_of(diagram)) {
    const double tokens = tokens_of(side.bins);
    for (size_t i = 0; i < side.bins.size(); ++i) {
      if (!(side.bins[i].tokens > 0)) continue;
      const double width = 1.0 / static_cast<double>(side.bins.size());
      const double from = x((static_cast<double>(i) + side.offset) * width);
      const double to = x((static_cast<double>(i) + side.offset + 0.42) * width);
      svg += format("<path class=\"bar %s\" d=\"M%.1f %.1fH%.1fV%.1fH%.1fZ\"/>", side.color.c_str(),
                    from, y(0), to, y(side.bins[i].tokens / tokens), from);
    }
  }
  svg += svg_line("axis", kLeft, kBottom, kRight, kBottom);
  return figure("Confidence: " + diagram.title, note, legend, kHeight, svg);
}

}  // namespace temper
