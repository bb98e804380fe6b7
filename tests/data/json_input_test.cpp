// Small JSON files: what nlohmann-json would take, and what must not be taken.
#include "data/json_input.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace temper::json_input_test {
namespace {

constexpr int64_t kMaxBytes = 1000;

/// Why the file is refused; "accepted" where it is not.
std::string refusal(const std::string& bytes) {
  const std::string path = testing::TempDir() + "temper-" + std::to_string(getpid()) + ".json";
  std::ofstream(path, std::ios::binary) << bytes;
  std::string message = "accepted";
  try {
    read_json_file(path, kMaxBytes);
  } catch (const c10::ValueError& error) {
    message = error.what_without_backtrace();
    EXPECT_NE(message.find(path), std::string::npos) << message;
  }
  std::filesystem::remove(path);
  return message;
}

/// A number in an object and in lists in it, `depth` of them together.
std::string nested(int depth) {
  const auto lists = static_cast<size_t>(depth - 1);
  return R"({"a":)" + std::string(lists, '[') + "1" + std::string(lists, ']') + "}";
}

// The number inside is a level, too.
TEST(JsonInputTest, DepthEndsAt32Levels) {
  EXPECT_EQ(refusal(nested(31)), "accepted");
  EXPECT_NE(refusal(nested(32)).find("deeper than 32"), std::string::npos) << refusal(nested(32));
  EXPECT_NE(refusal(R"({"a":)" + std::string(kMaxBytes - 10, '[')).find("deeper than 32"),
            std::string::npos);
}

TEST(JsonInputTest, SizeEndsWhereTheReaderSays) {
  const std::string head = R"({"a":")", tail = "\"}";
  const std::string filling(kMaxBytes - head.size() - tail.size(), 'x');
  EXPECT_EQ(refusal(head + filling + tail), "accepted");
  EXPECT_NE(refusal(head + filling + "x" + tail).find("larger than 1000 bytes"), std::string::npos);
}

TEST(JsonInputTest, AKeyStandsOnce) {
  EXPECT_EQ(refusal(R"({"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]})"), "accepted");
  EXPECT_NE(refusal(R"({"a":1,"b":2,"a":1})").find(R"("a" stands twice)"), std::string::npos);
  EXPECT_NE(refusal(R"({"a":[{"b":1,"b":1}]})").find(R"("b" stands twice)"), std::string::npos);
  // Spelt in another way it is the same key.
  EXPECT_NE(refusal(R"({"a":1,"\u0061":1})").find("stands twice"), std::string::npos);
}

TEST(JsonInputTest, NothingFollowsANulByte) {
  const std::string nul(1, '\0');
  EXPECT_EQ(refusal("{} \n"), "accepted");
  EXPECT_NE(refusal("{}" + nul), "accepted");
  EXPECT_NE(refusal("{}" + nul + "} and whatever else").find("at byte 3 of 22"), std::string::npos);
  EXPECT_NE(refusal(nul + "{}"), "accepted");
}

TEST(JsonInputTest, OnlyAnObjectIsAnObject) {
  for (const char* text :
       {"", " ", "[]", "1", "null", "\"a\"", "{", "{}{}", "{\"a\":1,}", "{'a':1}", "{\"a\":NaN}",
        "{\"a\":01}", "{\"a\":1e999}", "{\"\xff\":1}", "{\"\\ud800\":1}", "{\"a\":1} // so"})
    EXPECT_NE(refusal(text), "accepted") << text;
}

}  // namespace
}  // namespace temper::json_input_test
