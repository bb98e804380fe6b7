// Dependencies point one way: what a folder may include is what the README draws.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "tests/launch/launcher.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

TEST(LayersTest, IncludesPointDownwards) {
  const std::set<std::string> low = {"comm", "model", "data"};
  std::map<std::string, std::set<std::string>> allowed = {
      {"data", {}}, {"model", {"data"}}, {"comm", {}}, {"teacher", low}, {"student", low}};
  allowed["launch"] = {"comm", "model", "data", "teacher", "student"};
  const std::regex include("^#include \"([a-z]+)/", std::regex::multiline);
  int seen = 0;
  for (auto& [folder, below] : allowed) {
    below.insert(folder);
    for (const auto& entry :
         fs::recursive_directory_iterator(std::string(TEMPER_SOURCE_DIR) + "/" + folder)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cpp" && extension != ".cu") continue;
      const std::string text = read_text(entry.path().string());
      for (std::sregex_iterator match(text.begin(), text.end(), include), end; match != end;
           ++match, ++seen) {
        EXPECT_TRUE(below.count((*match)[1]) == 1) << entry.path() << " includes " << (*match)[1];
      }
    }
  }
  EXPECT_GT(seen, 100);
}

}  // namespace
}  // namespace temper
