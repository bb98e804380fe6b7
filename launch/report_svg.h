// What the drawings of a report are made of: axes, ticks, texts, and the <figure> around them, as
// inline SVG. They are plain text without scripts or fonts of their own, and take their colours
// from classes of the page's style sheet, so that light, dark and print need one drawing. Debian
// has no plotting library for C++ that is worth a dependency.
#pragma once

#include <string>
#include <vector>

namespace temper {

// The unit of all drawings is about a CSS pixel: cards are 340 to 420 px wide, so that text stays
// readable without a script.
inline constexpr double kWidth = 400;
inline constexpr double kLeft = 46, kRight = 380, kTop = 24;

/// A number's way from an axis' values to the drawing's units.
struct Axis {
  double from, to;    // values
  double start, end;  // units
  double operator()(double value) const {
    return start + (value - from) / (to - from) * (end - start);
  }
};

/// `&<>"'` as entities: safe as content and inside quoted attributes.
std::string escape_html(const std::string& text);

/// Round numbers 1, 2 or 5 times a power of ten apart, about `count` of them, that enclose [low,
/// high]. Both finite; {low, high} where doubles cannot part them so.
std::vector<double> nice_ticks(double low, double high, int count);

/// Texts of ticks with as many digits as their distance needs: "2.5", "40k", "3e-4".
std::vector<std::string> tick_texts(const std::vector<double>& ticks);
/// The same of shares: "0.5%", "20%".
std::vector<std::string> percent_texts(const std::vector<double>& ticks);

std::string svg_text(double x, double y, const char* anchor, const std::string& text);
std::string svg_line(const char* kind, double x1, double y1, double x2, double y2);
/// Rules across the drawing with a text left of each.
std::string y_ticks(const Axis& y, const std::vector<double>& ticks,
                    const std::vector<std::string>& texts);
/// Ticks below `bottom` with a text below each.
std::string x_ticks(const Axis& x, double bottom, const std::vector<double>& ticks,
                    const std::vector<std::string>& texts);

/// An entry of a legend; `color` is a class of the style sheet.
std::string legend_key(const std::string& color, const std::string& stroke,
                       const std::string& name);

/// Title, note (may be empty), legend and drawing as a <figure>.
std::string figure(const std::string& title, const std::string& note, const std::string& legend,
                   double height, const std::string& drawing);

}  // namespace temper
