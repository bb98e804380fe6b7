// The hash of token ids, the refusal of foreign headers, parts of a payload.
#include "comm/soft_targets.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include "comm/agree.h"

namespace temper {
namespace {

TEST(HashTokensTest, IsFnv1a) {
  // The offset basis for no input (RFC 9923); the others by six lines of Python over
  // struct.pack('<3q', 1, 2, 3) and so on, which give 0x85944171f73967e8 for "foobar", as
  // published.
  EXPECT_EQ(hash_tokens(at::empty({0, 4}, at::kLong)), 0xcbf29ce484222325U);      // (0, 4)
  EXPECT_EQ(hash_tokens(at::tensor({1, 2, 3}, at::kLong)), 0xda2bfb225e0d1f05U);  // (3)
  EXPECT_EQ(hash_tokens(at::tensor({int64_t{-1}, int64_t{1} << 40}, at::kLong)),
            0x6f63dd3664813332U);  // (2)
}

TEST(HashTokensTest, ReadsRowsOfATransposedTensorInOrder) {
  const at::Tensor ids = at::arange(6, at::kLong).view({2, 3});  // (2, 3)
  EXPECT_EQ(hash_tokens(ids.t()), hash_tokens(ids.t().contiguous()));
  EXPECT_NE(hash_tokens(ids.t()), hash_tokens(ids));
}

TEST(HashTokensTest, RefusesOtherTypes) {
  EXPECT_THROW(hash_tokens(at::ones({2}, at::kInt)), c10::Error);  // (2)
}

TEST(PayloadViewTest, OnTheCpuItIsItself) {
  const PayloadSpec spec{.kind = Payload::kFull, .vocab = 5, .dtype = at::kFloat};
  const at::Tensor bytes = at::zeros({3 * spec.bytes_per_token()}, at::kByte);  // (bytes)
  const PayloadView view(bytes, spec, 3), own = view.cpu();
  EXPECT_EQ(own.values.const_data_ptr(), view.values.const_data_ptr());
  EXPECT_FALSE(own.scalars.defined());
  EXPECT_FALSE(own.ids.defined());
}

class CheckHeaderTest : public testing::Test {
 protected:
  CheckHeaderTest() {
    ours_.step = 7;
    ours_.first_row = 12;
    ours_.rows = 4;
    ours_.seq = 16;
    ours_.vocab = 100;
    ours_.temperature = 2.0;
    ours_.token_hash = 42;
    theirs_ = ours_;
  }

  void expect_refused(const std::string& field, const std::string& ours,
                      const std::string& theirs) {
    try {
      check_header(ours_, theirs_, /*teacher_rank=*/3);
      FAIL() << field << " was not checked";
    } catch (const c10::Error& error) {
      const std::string text = plain_message(error);
      EXPECT_NE(text.find("teacher rank 3"), std::string::npos) << text;
      EXPECT_NE(text.find("step 7, rows 12 to 15"), std::string::npos) << text;
      EXPECT_NE(text.find(field + " is " + ours + " here and " + theirs + " at the teacher"),
                std::string::npos)
          << text;
    }
    theirs_ = ours_;
  }

  SoftTargetHeader ours_;
  SoftTargetHeader theirs_;
};

TEST_F(CheckHeaderTest, AcceptsEqualOnes) { EXPECT_NO_THROW(check_header(ours_, theirs_, 3)); }

TEST_F(CheckHeaderTest, NamesTheFieldThatDiffers) {
  theirs_.magic = 1;
  expect_refused("magic", "1413827920", "1");
  theirs_.payload = static_cast<Payload>(9);
  expect_refused("payload", "full", "unknown");
  theirs_.step = 8;
  expect_refused("step", "7", "8");
  theirs_.first_row = 0;
  expect_refused("first_row", "12", "0");
  theirs_.rows = 3;
  expect_refused("rows", "4", "3");
  theirs_.seq = 8;
  expect_refused("seq", "16", "8");
  theirs_.vocab = 101;
  expect_refused("vocab", "100", "101");
  theirs_.temperature = 2.5;
  expect_refused("temperature", "2", "2.5");
  theirs_.token_hash = 43;
  expect_refused("token_hash", "42", "43");
  theirs_.tokenizer = 5;
  expect_refused("tokenizer", "0", "5");
}

}  // namespace
}  // namespace temper
