// Text as it comes: whole characters only, and nothing of a stop string.
#include "launch/text_stream.h"

#include <gtest/gtest.h>

namespace temper {
namespace {

/// What push() gives for each byte, and finish() at the end.
std::vector<std::string> given(const std::string& text, std::vector<std::string> stops) {
  const std::unique_ptr<Tokenizer> tokenizer = make_byte_tokenizer();
  TextStream stream(*tokenizer, {'a', 'b'}, std::move(stops));
  std::vector<std::string> parts;
  for (const char byte : text) parts.push_back(stream.push(static_cast<unsigned char>(byte)));
  parts.push_back(stream.finish());
  std::string all;
  for (const std::string& part : parts) all += part;
  EXPECT_EQ(stream.text(), all);
  return parts;
}

TEST(TextStreamTest, CharactersComeWhole) {
  using Parts = std::vector<std::string>;
  EXPECT_EQ(given("hi", {}), (Parts{"h", "i", ""}));
  EXPECT_EQ(given("\u00e9x", {}), (Parts{"", "\u00e9", "x", ""}));
  EXPECT_EQ(given("\U0001F389", {}), (Parts{"", "", "", "\U0001F389", ""}));
  // Bytes that never become a character are not held back for ever.
  const Parts broken = given("\xf0zzzz", {});
  EXPECT_EQ(broken.back(), "");
}

TEST(TextStreamTest, StopStringsAreNeverShown) {
  using Parts = std::vector<std::string>;
  EXPECT_EQ(given("one\n\ntwo", {"\n\n"}), (Parts{"o", "n", "e", "", "", "", "", "", ""}));
  // The beginning of one that does not come is given out with what disproves it.
  EXPECT_EQ(given("a\nb", {"\n\n"}), (Parts{"a", "", "\nb", ""}));
  EXPECT_EQ(given("ab", {"bc"}), (Parts{"a", "", "b"}));
  EXPECT_EQ(given("aab", {"aab", "b"}), (Parts{"", "", "", ""}));
}

}  // namespace
}  // namespace temper
