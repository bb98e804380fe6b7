// AdamW against the update as its paper writes it, in double precision.
#include "student/optimizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace temper {
namespace {

TransformerConfig tiny() {
  TransformerConfig config;
  config.vocab = 11;
  config.positions = 16;
  config.layers = 1;
  config.width = 8;
  config.heads = config.kv_heads = 2;
  config.head_width = 4;
  config.ffn_width = 16;
  return config;
}

TEST(OptimizerTest, AdamWFollowsThePaper) {
  Transformer model(tiny());
  model.init_weights(1);
  model.require_gradients();
  TrainConfig config;
  config.weight_decay = 0.3;
  at::Tensor expected = model.flat_weights().to(at::kDouble).clone();  // (P)
  at::Tensor decay = at::zeros_like(expected), m = at::zeros_like(expected),
             v = at::zeros_like(expected);      // (P)
  at::Tensor owned = at::zeros_like(expected);  // (P)
  for (const Parameter& parameter : model.parameters()) {
    owned.narrow(0, parameter.offset, parameter.value.numel()).fill_(1);
    if (parameter.decays)
      decay.narrow(0, parameter.offset, parameter.value.numel()).fill_(config.weight_decay);
  }
  ASSERT_GT(decay.sum().item<double>(), 0);
  ASSERT_LT(decay.sum().item<double>(), config.weight_decay * owned.sum().item<double>());
  Optimizer optimizer(model, config);
  at::manual_seed(4);
  for (int t = 1; t <= 5; ++t) {
    const at::Tensor g = at::randn_like(expected) * owned;  // (P)
    {
      const at::NoGradGuard no_grad;
      model.flat_gradients().copy_(g);
    }
    const double lr = 0.01 * t;
    optimizer.step(lr);
    m = config.beta1 * m + (1 - config.beta1) * g;
    v = config.beta2 * v + (1 - config.beta2) * g * g;
    const at::Tensor m_hat = m / (1 - std::pow(config.beta1, t)),
                     v_hat = v / (1 - std::pow(config.beta2, t));
    expected = expected - lr * (m_hat / (v_hat.sqrt() + config.eps) + decay * expected);
  }
  EXPECT_LT(((model.flat_weights() - expected).norm() / expected.norm()).item<double>(), 1e-6);
}

TEST(OptimizerTest, SgdIsPlain) {
  Transformer model(tiny());
  model.init_weights(1);
  model.require_gradients();
  TrainConfig config;
  config.optimizer = "sgd";
  config.weight_decay = 0;
  const at::Tensor before = model.flat_weights().clone();
  Optimizer optimizer(model, config);
  {
    const at::NoGradGuard no_grad;
    model.flat_gradients().fill_(2.0);
  }
  optimizer.step(0.25);
  for (const Parameter& parameter : model.parameters()) {
    const at::Tensor expected = before.narrow(0, parameter.offset, parameter.value.numel()) - 0.5;
    EXPECT_TRUE(at::allclose(parameter.value.detach().reshape(-1), expected)) << parameter.name;
  }
}

}  // namespace
}  // namespace temper
