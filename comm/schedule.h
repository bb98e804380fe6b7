// A number that may change over the steps of a run: the temperature, the weights of the loss, a
// factor of the learning rate. It stands in comm because teacher and student ranks must compute the
// same temperature for a step, each on its own.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace temper {

/// What Schedule::parse() reads, for the help of options and for its errors.
inline constexpr const char* kScheduleForms =
    "a number, or PLACE:VALUE,... with steps or percentages of them as places "
    "(0:0.9,50%:0.9,100%:0.1), linear in between, or with 'cosine ' or 'step ' in front";

class Schedule {
 public:
  /// Always `value`.
  Schedule(double value);

  /// Reads
  ///
  ///   number | ["linear " | "cosine " | "step "] place ":" number { "," place ":" number }
  ///   place = step | percentage "%"
  ///
  /// Places of one kind ascend; two that are equal make a jump. `option` is the option's name
  /// without dashes. Throws c10::ValueError naming it, the text, what is wrong and the remedy: to
  /// give `others` (names that the option knows besides), or a schedule.
  static Schedule parse(const std::string& text, const std::string& option,
                        const std::string& others = {});

  /// Of step `step` (0-based) in a run of `steps`. 0% is the first step, 100% the last. At step s
  /// between the places a and b with the values u and v, f = (s - a)/(b - a):
  ///
  ///   linear:  u + (v - u)·f
  ///   cosine:  u + (v - u)·(1 - cos(πf))/2
  ///   step:    u
  ///
  /// Before the first place and after the last one their values hold.
  double value(int64_t step, int64_t steps) const;

  /// Refuses steps and percentages that do not ascend in a run of `steps`. Throws c10::ValueError
  /// as parse() does.
  void check_places(int64_t steps, const std::string& option) const;

  /// Not the same number at every step.
  bool changes() const { return lowest() != highest(); }
  double lowest() const;   ///< of all values that it can have
  double highest() const;  ///< likewise
  /// As it was given.
  const std::string& text() const { return text_; }

 private:
  enum class Between { kLinear, kCosine, kStep };
  struct Point {
    double place = 0;  ///< a step, or a percentage
    bool percent = false;
    double value = 0;

    double at(int64_t steps) const;
  };

  Schedule() = default;

  std::string text_;
  Between between_ = Between::kLinear;
  std::vector<Point> points_;  // never empty
};

/// A schedule in a run whose number of steps is known.
class RunSchedule {
 public:
  /// Always `value`.
  RunSchedule(double value) : schedule_(value) {}
  RunSchedule(Schedule schedule, int64_t steps) : schedule_(std::move(schedule)), steps_(steps) {}

  double at(int64_t step) const { return schedule_.value(step, steps_); }

 private:
  Schedule schedule_;
  int64_t steps_ = 1;
};

}  // namespace temper
