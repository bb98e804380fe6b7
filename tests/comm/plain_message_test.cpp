// What a person sees of an exception: one line, no stack trace.
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "comm/agree.h"

namespace temper {
namespace {

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return plain_message(error);
  }
  return "nothing was thrown";
}

TEST(PlainMessageTest, LeavesOutTheBacktrace) {
  EXPECT_EQ(message_of([] { TORCH_CHECK(false, "the file is ", 3, " bytes short"); }),
            "the file is 3 bytes short");
  EXPECT_EQ(message_of([] { TORCH_CHECK_VALUE(false, "--train.lr -1: must be positive"); }),
            "--train.lr -1: must be positive");
}

TEST(PlainMessageTest, MakesOneLine) {
  EXPECT_EQ(message_of([] { throw std::runtime_error("\nfirst\n  second\n\nthird\n"); }),
            "first  second third");
}

TEST(PlainMessageTest, LibTorchsOwnErrorsAreOneLineToo) {
  const std::string text = message_of([] { at::ones({2}) + at::ones({3}); });
  EXPECT_NE(text.find("size of tensor a (2)"), std::string::npos) << text;
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  EXPECT_EQ(text.find("frame #"), std::string::npos) << text;
}

}  // namespace
}  // namespace temper
