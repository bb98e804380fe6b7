// The stated bounds of every value type, and the layout of their messages.
#include "comm/value_coding.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "comm/payload.h"

namespace temper {
namespace {

at::Tensor there_and_back(const at::Tensor& values, at::ScalarType type) {
  const at::Tensor coded = at::empty(values.sizes(), type);              // (n, W)
  const at::Tensor ranges = at::empty({values.size(0), 2}, at::kFloat);  // (n, 2)
  encode_values(values, coded, ranges);
  return decode_values(coded, ranges, at::kFloat);
}

at::Tensor logits() {
  at::manual_seed(3);
  return at::randn({64, 5000}) * at::logspace(-3, 1.5, 64).unsqueeze(1);  // (n, W)
}

TEST(ValueCodingTest, RelativeErrorsOf16Bits) {
  const at::Tensor values = logits();
  const at::Tensor size = values.abs();
  const auto largest = [&](at::ScalarType type, const at::Tensor& where) {
    const at::Tensor error = (there_and_back(values, type) - values).abs() / size;
    return error.masked_select(where).max().item<double>();
  };
  EXPECT_LE(largest(at::kBFloat16, size > 1e-30), std::ldexp(1.0, -8) * 1.0001);
  EXPECT_GT(largest(at::kBFloat16, size > 1e-30), std::ldexp(1.0, -9));
  EXPECT_LE(largest(at::kHalf, size > 6.2e-5), std::ldexp(1.0, -11) * 1.0001);
  EXPECT_LE((there_and_back(values, at::kHalf) - values)
                .abs()
                .masked_select(size < 6e-5)
                .max()
                .item<double>(),
            3e-8);
  EXPECT_TRUE(there_and_back(values, at::kFloat).equal(values));
}

TEST(ValueCodingTest, EightBitsAreWithinAStepsHalf) {
  const at::Tensor values = logits();
  const at::Tensor range = values.amax(1) - values.amin(1);                             // (n)
  const at::Tensor error = (there_and_back(values, at::kByte) - values).abs().amax(1);  // (n)
  const at::Tensor share = error / range;
  EXPECT_LE(share.max().item<double>(), 1.0 / 508 * 1.001);
  EXPECT_GT(share.max().item<double>(), 0.9 / 508);
}

TEST(ValueCodingTest, MaskedHugeAndEqualValues) {
  const float none = -std::numeric_limits<float>::infinity();
  const at::Tensor values = at::tensor({none, -3.0f, 2.0f, none, 7.0f, 7.0f, 7.0f, 7.0f, none, none,
                                        none, none, 1e6f, -1e6f, 0.0f, none})
                                .view({4, 4});
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf, at::kByte}) {
    const at::Tensor back = there_and_back(values, type);
    EXPECT_TRUE(back.isneginf().equal(values.isneginf())) << value_type_name(type);
    EXPECT_FALSE(back.isnan().any().item<bool>()) << value_type_name(type);
    EXPECT_TRUE(back[1].equal(values[1])) << value_type_name(type);
    EXPECT_FALSE(back.isposinf().any().item<bool>()) << value_type_name(type);
  }
}

// The bound of 16 bits is none of bf16's numbers; what is infinite has to arrive as such.
TEST(ValueCodingTest, HugeValuesOfAnyTypeBecomeTheLargestHalf) {
  const float most = std::numeric_limits<float>::infinity();
  const at::Tensor values = at::tensor({1e6f, -1e6f, 65520.0f, most, -most, 2.0f}).view({1, 6});
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const at::Tensor back = there_and_back(values.to(type), at::kHalf);
    const at::Tensor expected =
        at::tensor({65504.0f, -65504.0f, 65504.0f, most, -most, 2.0f}).view({1, 6});
    EXPECT_TRUE(back.equal(expected)) << type << ": " << back;
  }
}

TEST(ValueCodingTest, NamesAndRefusals) {
  for (const char* name : {"fp32", "bf16", "fp16", "int8"})
    EXPECT_STREQ(value_type_name(value_type_from_name(name, "x")), name);
  EXPECT_THROW(value_type_from_name("fp8", "teacher.values"), c10::ValueError);
}

TEST(ValueCodingTest, MessagesHoldRangesWhereTheyAreNeeded) {
  PayloadSpec spec;
  spec.vocab = 1000;
  spec.width = 48;
  spec.entries = 16;
  spec.dtype = at::kByte;
  const std::vector<std::pair<Payload, int64_t>> expected = {
      {Payload::kFull, 8 + 1000},
      {Payload::kHidden, 8 + 48},
      {Payload::kTopk, 4 + 8 + 16 + 20},
      {Payload::kSample, 4 + 20},
  };
  for (const auto& [kind, bytes] : expected) {
    spec.kind = kind;
    EXPECT_EQ(spec.bytes_per_token(), bytes) << payload_name(kind);
    EXPECT_NO_THROW(spec.validate());
  }
  spec.kind = Payload::kTopk;
  const PayloadView view(at::zeros({3 * spec.bytes_per_token()}, at::kByte), spec, 3);
  EXPECT_EQ(view.scalars.sizes(), (std::vector<int64_t>{3, 3}));
  at::manual_seed(1);
  const at::Tensor values = at::randn({3, 16});  // (N, K)
  view.scalars.select(1, 0).fill_(-2.0);
  view.write_values(0, values);
  pack_ids(at::randint(1000, {3, 16}, at::kLong), spec, view.ids);
  const SoftTargets soft = soft_targets(view, spec, {});
  EXPECT_TRUE(soft.scalars.equal(at::full({3}, -2.0f)));
  EXPECT_TRUE(at::allclose(soft.values, values, 0, 0.02));
}

TEST(HandoverCopyTest, WritesTheBitsThatACopyWould) {
  PayloadSpec spec;
  at::manual_seed(2);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf, at::kByte}) {
    // Nothing is a multiple of a cache line; the last is more than one block of a thread.
    for (const auto& [tokens, vocab] : {std::pair{3, 5}, {7, 33}, {64, 2731}}) {
      spec.dtype = type;
      spec.vocab = vocab;
      const int64_t bytes = tokens * spec.bytes_per_token();
      for (const at::ScalarType from : {at::kFloat, at::kBFloat16}) {
        const at::Tensor values = at::randn({tokens, vocab}).mul_(1e4).to(from);  // (N, V)
        values.select(0, 1).fill_(-std::numeric_limits<double>::infinity());
        at::Tensor parts[2];
        for (const bool shared : {false, true}) {
          const at::Tensor memory = at::full({bytes + 128}, 77, at::kByte);  // (bytes + 128)
          PayloadView view(memory.narrow(0, 64, bytes), spec, tokens);
          view.shared = shared;
          view.write_values(0, values.narrow(0, 0, 1));
          view.write_values(1, values.narrow(0, 1, tokens - 1));
          parts[shared ? 1 : 0] = memory;
        }
        EXPECT_TRUE(parts[0].equal(parts[1])) << type << " " << tokens << " x " << vocab;
      }
    }
  }
}

}  // namespace
}  // namespace temper
