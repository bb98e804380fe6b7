#include "launch/report_svg.h"

#include <algorithm>
#include <cmath>

#include "launch/progress.h"

namespace temper {

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

std::vector<double> nice_ticks(double low, double high, int count) {
  const double rough = (high - low) / count;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double digit = rough / power;
  const double step = (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10) * power;
  // Numbers that are too large, too small or too close together to be parted.
  if (!std::isfinite(step) || !(step > 0)) return {low, high};
  const double first = std::floor(low / step + 1e-9);
  const double last = std::ceil(high / step - 1e-9);
  std::vector<double> ticks;
  for (double n = first; n <= last && ticks.size() < 100; ++n) ticks.push_back(n * step);
  return ticks;
}

namespace {

/// Digits behind the point that tell ticks apart that are `step` apart: 0 to 6.
int digits_of(double step) {
  const double digits = std::ceil(-std::log10(step) - 1e-9);
  return digits > 0 ? static_cast<int>(std::min(digits, 6.0)) : 0;  // 0 for NaN
}

}  // namespace

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
      texts.push_back(format("%.*f%s", digits_of(step / unit), tick / unit, suffix));
    }
  }
  return texts;
}

std::vector<std::string> percent_texts(const std::vector<double>& ticks) {
  const double step = ticks.size() > 1 ? 100 * (ticks[1] - ticks[0]) : 1;
  std::vector<std::string> texts;
  for (const double tick : ticks) texts.push_back(format("%.*f%%", digits_of(step), 100 * tick));
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

std::string legend_key(const std::string& color, const std::string& stroke,
                       const std::string& name) {
  return "<span class=\"key\"><i class=\"" + color + (stroke.empty() ? "" : " " + stroke) +
         "\"></i>" + escape_html(name) + "</span>";
}

std::string figure(const std::string& title, const std::string& note, const std::string& legend,
                   double height, const std::string& drawing) {
  return "<figure><figcaption><b>" + escape_html(title) + "</b>" +
         (note.empty() ? "" : "<small>" + escape_html(note) + "</small>") +
         "<span class=\"keys\">" + legend + "</span></figcaption>\n" +
         format("<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", kWidth, height) +
         escape_html(title) + "\">" + drawing + "</svg></figure>\n";
}

}  // namespace temper
