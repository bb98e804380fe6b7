// What the tests of reports look for in HTML and SVG.
#pragma once

#include <cctype>
#include <cstdlib>
#include <string>
#include <vector>

#include "launch/report_chart.h"

namespace temper {

/// How often `what` stands in `text`.
inline size_t count(const std::string& text, const std::string& what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size()))
    ++found;
  return found;
}

/// The d of the first path whose class starts with `kind`.
inline std::string path_of(const std::string& svg, const std::string& kind) {
  const size_t at = svg.find("<path class=\"" + kind);
  if (at == std::string::npos) return "";
  const size_t from = svg.find(" d=\"", at) + 4;
  return svg.substr(from, svg.find('"', from) - from);
}

/// All "Mx y" and "Lx y" of a path's d.
inline std::vector<ChartPoint> coordinates(const std::string& svg) {
  std::vector<ChartPoint> points;
  for (size_t i = 0; i + 1 < svg.size(); ++i) {
    if ((svg[i] != 'M' && svg[i] != 'L') || (!isdigit(svg[i + 1]) && svg[i + 1] != '-')) continue;
    char* rest = nullptr;
    const double x = std::strtod(svg.c_str() + i + 1, &rest);
    points.push_back({x, std::strtod(rest, nullptr)});
  }
  return points;
}

}  // namespace temper
