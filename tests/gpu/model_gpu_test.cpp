// The transformer and its optimizer on a GPU against the CPU.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "model/transformer.h"
#include "student/optimizer.h"
#include "student/train_config.h"
#include "student/trunk_graph.h"
#include "tests/gpu/gpu_test.h"
#include "tests/student/loss_cases.h"

namespace temper {
namespace {

TransformerConfig shape(Family family) {
  TransformerConfig config;
  config.family = family;
  config.vocab = 131;
  config.positions = 96;
  config.layers = 3;
  config.width = 128;
  config.heads = 4;
  config.kv_heads = family == Family::kGpt2 ? 4 : 2;
  config.head_width = 32;
  config.ffn_width = 256;
  config.tied_head = family != Family::kLlama;
  config.qkv_bias = family == Family::kQwen2;
  config.qk_norm = family == Family::kQwen3;
  return config;
}

class ModelOnGpuTest : public GpuTest, public testing::WithParamInterface<Family> {};

// Hidden states, the gradient of every weight, and the weights after two updates.
TEST_P(ModelOnGpuTest, EqualsTheCpu) {
  at::manual_seed(6);
  const at::Tensor tokens = at::randint(131, {3, 65}, at::kLong);  // (B, S)
  const at::Tensor probe = at::randn({3, 65, 128});                // (B, S, C)
  for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
    at::Tensor hidden[2], gradients[2], weights[2];
    for (const bool gpu : {false, true}) {
      const at::Device device = gpu ? at::kCUDA : at::kCPU;
      Transformer model(shape(GetParam()), at::kFloat, device);
      model.init_weights(3);
      model.require_gradients();
      TrainConfig config;
      Optimizer optimizer(model, config, {{0, model.flat_weights().numel()}});
      for (int step = 0; step < 2; ++step) {
        at::Tensor loss;
        {
          const at::AutoGradMode grad(true);
          const at::Tensor out = model.hidden(tokens.to(device), compute);  // (B, S, C)
          if (step == 0) hidden[gpu] = out.detach().cpu().to(at::kFloat).to(at::kDouble);
          loss = (out.to(at::kFloat) * probe.to(device)).sum();
        }
        loss.backward();
        if (step == 0) gradients[gpu] = model.flat_gradients().cpu().to(at::kDouble);
        optimizer.step(1e-3, 0.01);
        model.flat_gradients().zero_();
      }
      weights[gpu] = model.flat_weights().cpu().to(at::kDouble);
    }
    const double bound = compute == at::kFloat ? 1e-5 : 3e-2;
    EXPECT_LE(relative_error(hidden[1], hidden[0]), bound);
    EXPECT_LE(relative_error(gradients[1], gradients[0]), bound);
    // Where a gradient is nothing but rounding, AdamW's first update has the size of any other.
    EXPECT_LE(relative_error(weights[1], weights[0]), compute == at::kFloat ? 1e-3 : 3e-2);
  }
}

// Recorded layers give what the same ones give when they are called, for other tokens and weights
// than those that they were recorded with, and add to the gradients.
TEST_P(ModelOnGpuTest, RecordedLayersEqualCalledOnes) {
  at::manual_seed(7);
  for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
    Transformer models[2] = {Transformer(shape(GetParam()), at::kFloat, at::kCUDA),
                             Transformer(shape(GetParam()), at::kFloat, at::kCUDA)};
    std::unique_ptr<TrunkGraph> trunk;
    for (Transformer& model : models) {
      model.init_weights(3);
      model.require_gradients();
    }
    for (int step = 0; step < 3; ++step) {
      const at::Tensor tokens = at::randint(131, {3, 65}, at::kLong).cuda();  // (B, S)
      const at::Tensor probe = at::randn({3 * 65, 128}).to(compute).cuda();   // (N, C)
      at::Tensor hidden[2];
      for (const bool recorded : {false, true}) {
        Transformer& model = models[recorded];
        Transformer::Cast cast(model, compute);
        cast.through(model.flat_weights().numel());
        if (!recorded) {
          const at::AutoGradMode grad(true);
          const at::Tensor out = model.hidden(tokens, compute).flatten(0, 1);  // (N, C)
          out.backward(probe);
          hidden[0] = out.detach();
          continue;
        }
        if (!trunk) trunk = record_trunk(model, compute, tokens.sizes());
        ASSERT_NE(trunk, nullptr);
        ASSERT_TRUE(trunk->fits(tokens.sizes()));
        EXPECT_FALSE(trunk->fits({2, 65}));
        hidden[1] = trunk->forward(tokens).clone();
        trunk->backward(probe);
      }
      EXPECT_TRUE(at::equal(hidden[0], hidden[1])) << step;
      const at::Tensor gradients[2] = {models[0].flat_gradients().cpu().to(at::kDouble),
                                       models[1].flat_gradients().cpu().to(at::kDouble)};
      EXPECT_GT(gradients[0].norm().item<double>(), 0);
      EXPECT_LE(relative_error(gradients[1], gradients[0]), 1e-6) << step;
      const at::NoGradGuard no_grad;
      for (Transformer& model : models) model.flat_weights().sub_(models[0].flat_gradients(), 1e-4);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, ModelOnGpuTest,
                         testing::Values(Family::kGpt2, Family::kLlama, Family::kQwen2,
                                         Family::kQwen3));

}  // namespace
}  // namespace temper
