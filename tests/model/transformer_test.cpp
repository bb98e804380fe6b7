// The transformer's gradient against central differences in double precision; causality; where
// gradients are kept.
#include "model/transformer.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

namespace temper {
namespace {

TransformerConfig shape(Family family) {
  TransformerConfig config;
  config.family = family;
  config.vocab = 13;
  config.positions = 12;
  config.layers = 2;
  config.width = 8;
  config.heads = 4;
  config.kv_heads = family == Family::kGpt2 ? 4 : 2;
  config.head_width = family == Family::kQwen3 ? 4 : 2;
  config.ffn_width = 12;
  config.tied_head = family != Family::kLlama;
  config.qkv_bias = family == Family::kQwen2;
  config.qk_norm = family == Family::kQwen3;
  return config;
}

TEST(TransformerGradientsTest, LieInTheCallersMemory) {
  Transformer model(shape(Family::kLlama));
  model.init_weights(3);
  const at::Tensor flat = at::zeros_like(model.flat_weights());  // (P)
  EXPECT_THROW(model.require_gradients(at::zeros({flat.numel() + 1})), c10::Error);
  EXPECT_THROW(model.require_gradients(flat.to(at::kDouble)), c10::Error);
  model.require_gradients(flat);
  EXPECT_TRUE(model.flat_gradients().is_same(flat));
  const Parameter& last = model.parameters().back();
  model.hidden(at::zeros({1, 3}, at::kLong), at::kFloat).sum().backward();  // (1, S, C)
  EXPECT_EQ(last.value.grad().const_data_ptr(),
            static_cast<const float*>(flat.const_data_ptr()) + last.offset);
  EXPECT_GT(flat.abs().max().item<double>(), 0);
}

class TransformerTest : public testing::TestWithParam<Family> {};

TEST_P(TransformerTest, GradientEqualsCentralDifferences) {
  Transformer model(shape(GetParam()), at::kDouble);
  model.init_weights(3);
  {
    const at::NoGradGuard no_grad;  // larger weights, and biases and norms that matter
    at::manual_seed(5);
    for (const Parameter& parameter : model.parameters())
      parameter.value.add_(at::randn_like(parameter.value) * 0.3);
  }
  model.require_gradients();
  const at::Tensor tokens = at::randint(13, {2, 6}, at::kLong);  // (B, S)
  const at::Tensor probe = at::randn({2, 6, 8}, at::kDouble);    // (B, S, C)
  const auto loss = [&] { return (model.hidden(tokens, at::kDouble) * probe).sum(); };
  loss().backward();
  const at::NoGradGuard no_grad;
  const double h = 1e-5;
  double error = 0, size = 0;
  for (const Parameter& parameter : model.parameters()) {
    const at::Tensor flat =
        model.flat_weights().narrow(0, parameter.offset, parameter.value.numel());
    for (int64_t i = 0; i < flat.numel(); i += 1 + flat.numel() / 12) {
      const double kept = flat[i].item<double>();
      flat[i] = kept + h;
      const double up = loss().item<double>();
      flat[i] = kept - h;
      const double down = loss().item<double>();
      flat[i] = kept;
      const double numeric = (up - down) / (2 * h),
                   analytic = model.flat_gradients()[parameter.offset + i].item<double>();
      error += (numeric - analytic) * (numeric - analytic);
      size += numeric * numeric;
      EXPECT_NEAR(analytic, numeric, 1e-6 * std::max(1.0, std::abs(numeric)))
          << parameter.name << " " << i;
    }
  }
  EXPECT_LE(std::sqrt(error / size), 1e-7);
}

TEST_P(TransformerTest, LaterTokensDoNotMatter) {
  const at::NoGradGuard no_grad;
  Transformer model(shape(GetParam()));
  model.init_weights(1);
  at::Tensor tokens = at::randint(13, {2, 10}, at::kLong);
  const at::Tensor before = model.hidden(tokens, at::kFloat).clone();
  tokens.select(1, 7).add_(1).remainder_(13);
  const at::Tensor after = model.hidden(tokens, at::kFloat);
  EXPECT_TRUE(at::equal(before.narrow(1, 0, 7), after.narrow(1, 0, 7)));
  EXPECT_FALSE(at::allclose(before.select(1, 7), after.select(1, 7)));
}

TEST_P(TransformerTest, BackwardAddsIntoTheFlatBuffer) {
  Transformer model(shape(GetParam()));
  model.init_weights(1);
  model.require_gradients();
  const void* where = model.flat_gradients().data_ptr();
  const at::Tensor tokens = at::randint(13, {2, 6}, at::kLong);
  model.hidden(tokens, at::kFloat).square().sum().backward();
  const at::Tensor once = model.flat_gradients().clone();
  EXPECT_GT(once.norm().item<double>(), 0);
  model.hidden(tokens, at::kFloat).square().sum().backward();
  EXPECT_TRUE(at::allclose(model.flat_gradients(), 2 * once));
  EXPECT_EQ(model.flat_gradients().data_ptr(), where);
  for (const Parameter& parameter : model.parameters()) {
    EXPECT_EQ(parameter.value.grad().data_ptr(),
              static_cast<char*>(model.flat_gradients().data_ptr()) + 4 * parameter.offset)
        << parameter.name;
    EXPECT_EQ(parameter.value.data_ptr(),
              static_cast<char*>(model.flat_weights().data_ptr()) + 4 * parameter.offset);
  }
}

// The gradient (P) of some function of the hidden states.
at::Tensor gradient_of(Transformer& model, const at::Tensor& tokens, at::ScalarType compute) {
  model.flat_gradients().zero_();
  model.hidden(tokens, compute).to(at::kFloat).square().sum().backward();
  return model.flat_gradients().clone();
}

TEST_P(TransformerTest, CheckpointedActivationsGiveTheSameBits) {
  Transformer model(shape(GetParam()));
  model.init_weights(1);
  model.require_gradients();
  const at::Tensor tokens = at::randint(13, {2, 6}, at::kLong);
  for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
    model.checkpoint_activations(false);
    const at::Tensor usual = gradient_of(model, tokens, compute);
    model.checkpoint_activations(true);
    EXPECT_TRUE(at::equal(gradient_of(model, tokens, compute), usual)) << c10::toString(compute);
  }
}

TEST_P(TransformerTest, CastWeightsGiveTheSameBits) {
  Transformer model(shape(GetParam()));
  model.init_weights(1);
  model.require_gradients();
  const at::Tensor tokens = at::randint(13, {2, 6}, at::kLong);
  const at::Tensor usual = gradient_of(model, tokens, at::kBFloat16);
  const at::Tensor head = model.head(at::kBFloat16);  // (V, C)
  {
    Transformer::Cast cast(model, at::kBFloat16);
    cast.through(model.flat_weights().numel());
    EXPECT_TRUE(at::equal(gradient_of(model, tokens, at::kBFloat16), usual));
    EXPECT_TRUE(at::equal(model.head(at::kBFloat16), head));
  }
  {
    Transformer::Cast layer_by_layer(model, at::kBFloat16);
    std::vector<int64_t> ends;
    model.flat_gradients().zero_();
    model
        .hidden(tokens, at::kBFloat16,
                {.needs =
                     [&](int64_t end) {
                       layer_by_layer.through(end);
                       ends.push_back(end);
                     }})
        .to(at::kFloat)
        .square()
        .sum()
        .backward();
    EXPECT_TRUE(at::equal(model.flat_gradients(), usual));
    EXPECT_TRUE(std::is_sorted(ends.begin(), ends.end()));
    EXPECT_EQ(ends.back(), model.flat_weights().numel());
    EXPECT_EQ(ends.size(), model.plan().layers.size() + 2);
  }
  const at::NoGradGuard no_grad;
  model.flat_weights().mul_(2);  // what was cast is not used any more
  EXPECT_TRUE(at::equal(model.head(at::kBFloat16), head * 2));
}

TEST_P(TransformerTest, CountsItsParameters) {
  const Transformer model(shape(GetParam()));
  int64_t sum = 0;
  for (const Parameter& parameter : model.parameters()) sum += parameter.value.numel();
  EXPECT_EQ(model.config().parameter_count(), sum);
}

TEST_P(TransformerTest, SeedsGiveWeights) {
  Transformer one(shape(GetParam())), two(shape(GetParam())), other(shape(GetParam()));
  one.init_weights(1);
  two.init_weights(1);
  other.init_weights(2);
  EXPECT_TRUE(at::equal(one.flat_weights(), two.flat_weights()));
  EXPECT_FALSE(at::equal(one.flat_weights(), other.flat_weights()));
}

INSTANTIATE_TEST_SUITE_P(Families, TransformerTest,
                         testing::Values(Family::kGpt2, Family::kLlama, Family::kMistral,
                                         Family::kQwen2, Family::kQwen3),
                         [](const auto& each) { return family_name(each.param); });

TEST(TransformerShapeTest, RefusesSequencesBeyondItsPositions) {
  const Transformer model(shape(Family::kLlama));
  EXPECT_THROW(model.hidden(at::zeros({1, 13}, at::kLong), at::kFloat), c10::ValueError);
}

TEST(TransformerShapeTest, CountsFlops) {
  // One weight matrix product costs 2 FLOPs a weight; embeddings look up. Tied head: counted as a
  // product.
  TransformerConfig config = shape(Family::kLlama);
  config.layers = 1;
  // q 8x8, k and v 4x8, out 8x8, gate, up, down 12x8, head 13x8; attention 2·2·S·H·D halved by the
  // mask.
  const double matrices = 2.0 * (64 + 32 + 32 + 64 + 3 * 96 + 104);
  EXPECT_NEAR(config.forward_flops_per_token(10), matrices + 2.0 * 2 * 10 * 4 * 2 / 2, 1e-9);
}

}  // namespace
}  // namespace temper
