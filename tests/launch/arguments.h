// The command lines of tests.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

namespace temper {

using Arguments = std::vector<std::string>;

/// An option that is given again replaces the one before it.
inline Arguments operator+(Arguments some, const Arguments& more) {
  for (const std::string& word : more) {
    const auto at = word.starts_with("--") ? std::find(some.begin(), some.end(), word) : some.end();
    if (at != some.end()) some.erase(at, at + 2);
  }
  some.insert(some.end(), more.begin(), more.end());
  return some;
}

}  // namespace temper
