// Soft targets that are no numbers are seen wherever they lie, and those that are only odd are not
// refused.
#include "comm/soft_target_check.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <limits>

namespace temper {
namespace {

constexpr int64_t kTokens = 12;
constexpr float kInf = std::numeric_limits<float>::infinity(),
                kNan = std::numeric_limits<float>::quiet_NaN();

PayloadSpec spec_of(Payload kind, at::ScalarType dtype) {
  PayloadSpec spec;
  spec.kind = kind;
  spec.vocab = 19;
  spec.width = 8;
  spec.entries = 3;
  spec.dtype = dtype;
  return spec;
}

/// What the check says; empty: nothing.
std::string said(const PayloadView& view, const PayloadSpec& spec) {
  try {
    check_soft_targets(view, spec, {.step = 7, .first_row = 4, .rows = 2}, kTokens,
                       "teacher rank 3");
  } catch (const SoftTargetError& error) {
    return error.what();
  }
  return "";
}

TEST(SoftTargetCheckTest, OneBadValueAnywhereIsSeen) {
  for (const Payload kind : {Payload::kFull, Payload::kHidden, Payload::kTopk, Payload::kSample}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf, at::kByte}) {
      const PayloadSpec spec = spec_of(kind, dtype);
      const at::Tensor bytes = at::zeros({kTokens * spec.bytes_per_token()}, at::kByte);  // (bytes)
      const PayloadView view(bytes, spec, kTokens);
      EXPECT_EQ(said(view, spec), "");
      for (const at::Tensor& part : {view.values, view.scalars}) {
        if (!part.defined() || part.scalar_type() == at::kByte) continue;
        for (int64_t at = 0; at < part.numel(); ++at) {
          const at::Tensor place = part.view({-1}).narrow(0, at, 1);  // (1)
          for (const float bad : {kNan, kInf}) {
            place.fill_(bad);
            const std::string text = said(view, spec);
            EXPECT_NE(text.find("teacher rank 3 for step 7, rows 4 to 5"), std::string::npos)
                << text << " " << payload_name(kind) << " " << at;
          }
          place.fill_(-kInf);  // a probability of 0
          EXPECT_EQ(said(view, spec), "") << payload_name(kind);
          place.zero_();
        }
      }
    }
  }
}

TEST(SoftTargetCheckTest, ASumThatOverflowsIsNoFault) {
  const PayloadSpec spec = spec_of(Payload::kFull, at::kFloat);
  const at::Tensor bytes = at::zeros({kTokens * spec.bytes_per_token()}, at::kByte);  // (bytes)
  const PayloadView view(bytes, spec, kTokens);
  view.values.fill_(3e38);
  EXPECT_EQ(said(view, spec), "");
  view.values.select(1, 0).fill_(-kInf);
  EXPECT_EQ(said(view, spec), "");
  view.values[3][4] = kNan;
  EXPECT_NE(said(view, spec), "");
}

TEST(SoftTargetCheckTest, AnotherShapeIsRefused) {
  const PayloadSpec spec = spec_of(Payload::kTopk, at::kFloat);
  const at::Tensor bytes = at::zeros({kTokens * spec.bytes_per_token()}, at::kByte);  // (bytes)
  PayloadView view(bytes, spec, kTokens);
  view.values = view.values.narrow(1, 0, 2);
  EXPECT_THROW(said(view, spec), c10::Error);
}

}  // namespace
}  // namespace temper
