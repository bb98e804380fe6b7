#include "comm/schedule.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>
#include <optional>
#include <string_view>

namespace temper {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

/// A finite number that is all of `text`.
std::optional<double> number_of(std::string_view text) {
  text = trimmed(text);
  if (text.starts_with("+") && !text.starts_with("+-")) text.remove_prefix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(number))
    return std::nullopt;
  return number;
}

/// The shortest text that reads back as the same number.
std::string text_of(double number) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, number).ptr};
}

}  // namespace

Schedule::Schedule(double value) : text_(text_of(value)), points_{{0, false, value}} {}

Schedule Schedule::parse(const std::string& text, const std::string& option,
                         const std::string& others) {
  const auto check = [&](bool right, const std::string& reason) {
    TORCH_CHECK_VALUE(right, "--", option, " is '", text, "': ", reason, "; give ", others,
                      kScheduleForms);
  };
  if (const std::optional<double> value = number_of(text)) {
    Schedule constant(*value);
    constant.text_ = text;
    return constant;
  }
  Schedule schedule;
  schedule.text_ = text;
  std::string_view rest = trimmed(text);
  for (const auto& [name, between] : {std::pair{"linear ", Between::kLinear},
                                      {"cosine ", Between::kCosine},
                                      {"step ", Between::kStep}}) {
    if (!rest.starts_with(name)) continue;
    schedule.between_ = between;
    rest.remove_prefix(std::string_view(name).size());
    break;
  }
  for (bool more = true; more;) {
    const size_t comma = rest.find(',');
    const std::string_view point = trimmed(rest.substr(0, comma));
    more = comma != std::string_view::npos;
    if (more) rest.remove_prefix(comma + 1);

    const std::string shown = "'" + std::string(point) + "'";
    const size_t colon = point.find(':');
    check(colon != std::string_view::npos, shown + " is neither a finite number nor PLACE:VALUE");
    std::string_view place = trimmed(point.substr(0, colon));
    const bool percent = place.ends_with('%');
    if (percent) place.remove_suffix(1);
    const std::optional<double> at = number_of(place), value = number_of(point.substr(colon + 1));
    check(value.has_value(), "the value of " + shown + " is no finite number");
    check(at && *at >= 0 && (percent ? *at <= 100 : *at == std::floor(*at)),
          "the place of " + shown + " is neither a step, 0 or more, nor from 0% to 100%");
    for (const Point& earlier : schedule.points_) {
      check(earlier.percent != percent || earlier.place <= *at,
            shown + " comes after a later place; places must ascend");
    }
    schedule.points_.push_back({*at, percent, *value});
  }
  return schedule;
}

double Schedule::Point::at(int64_t steps) const {
  // The product first: 7% of the way to step 100 is step 7, not a bit after it.
  return percent ? place * static_cast<double>(steps - 1) / 100 : place;
}

void Schedule::check_places(int64_t steps, const std::string& option) const {
  for (size_t i = 1; i < points_.size(); ++i) {
    const double before = points_[i - 1].at(steps), place = points_[i].at(steps);
    TORCH_CHECK_VALUE(before <= place, "--", option, " is '", text_, "': of ", steps,
                      " steps, point ", i + 1, " is at step ", place,
                      " and the one in front of it at ", before,
                      "; give places that ascend (100% is the last step)");
  }
}

double Schedule::value(int64_t step, int64_t steps) const {
  const auto now = static_cast<double>(step);
  const auto next = std::find_if(points_.begin(), points_.end(),
                                 [&](const Point& point) { return point.at(steps) > now; });
  if (next == points_.begin()) return next->value;
  const Point& last = *(next - 1);
  if (next == points_.end() || between_ == Between::kStep) return last.value;
  const double from = last.at(steps);
  double share = (now - from) / (next->at(steps) - from);
  if (between_ == Between::kCosine) share = 0.5 * (1.0 - std::cos(std::numbers::pi * share));
  return last.value + (next->value - last.value) * share;
}

double Schedule::lowest() const {
  return std::min_element(points_.begin(), points_.end(),
                          [](const Point& a, const Point& b) { return a.value < b.value; })
      ->value;
}

double Schedule::highest() const {
  return std::max_element(points_.begin(), points_.end(),
                          [](const Point& a, const Point& b) { return a.value < b.value; })
      ->value;
}

}  // namespace temper
