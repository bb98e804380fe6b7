// What a model's fingerprint depends on.
#include "model/fingerprint.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/model/small_shape.h"

namespace temper {
namespace {

Transformer drawn(const TransformerConfig& shape) {
  Transformer model(shape);
  model.init_weights(5);
  return model;
}

TEST(FingerprintTest, IsThatOfShapeDtypeAndWeights) {
  const TransformerConfig shape = small_shape(64, 16, 1, 32);
  const std::string print = fingerprint(drawn(shape));
  EXPECT_EQ(print.size(), 32u);
  Transformer same = drawn(shape);
  EXPECT_EQ(fingerprint(same), print);
  EXPECT_NE(fingerprint(same.as(at::kBFloat16)), print);
  // The last bit of the last weight.
  const at::Tensor last = same.parameters().back().value.detach().reshape(-1).slice(0, -1);  // (1)
  last.mul_(1 + 1e-7);
  EXPECT_NE(fingerprint(same), print);
  TransformerConfig other = shape;
  other.norm_eps = 1e-6;
  EXPECT_NE(fingerprint(drawn(other)), print);
  // Ids that the tokenizer gives change no logits.
  TransformerConfig named = shape;
  named.bos_id = 1;
  EXPECT_EQ(fingerprint(drawn(named)), print);
}

}  // namespace
}  // namespace temper
