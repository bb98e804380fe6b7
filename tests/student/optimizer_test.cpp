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
  Optimizer optimizer(model, config, {{0, model.flat_weights().numel()}});
  at::manual_seed(4);
  for (int t = 1; t <= 5; ++t) {
    const at::Tensor g = at::randn_like(expected) * owned;  // (P)
    {
      const at::NoGradGuard no_grad;
      model.flat_gradients().copy_(g * (3.0 * t));
    }
    const double lr = 0.01 * t;
    optimizer.step(lr, 1.0 / (3.0 * t));
    m = config.beta1 * m + (1 - config.beta1) * g;
    v = config.beta2 * v + (1 - config.beta2) * g * g;
    const at::Tensor m_hat = m / (1 - std::pow(config.beta1, t)),
                     v_hat = v / (1 - std::pow(config.beta2, t));
    expected = expected - lr * (m_hat / (v_hat.sqrt() + config.eps) + decay * expected);
  }
  EXPECT_LT(((model.flat_weights() - expected).norm() / expected.norm()).item<double>(), 1e-6);
}

// Three ranks' parts, each with moments of its own, against one rank that has them all.
TEST(OptimizerTest, PartsGiveTheBitsOfTheWhole) {
  TrainConfig config;
  Transformer whole(tiny());
  whole.init_weights(1);
  whole.require_gradients();
  Transformer cut(tiny());
  cut.init_weights(1);
  cut.require_gradients();
  const int64_t count = whole.flat_weights().numel();
  std::vector<Shard> parts;
  for (int rank = 0; rank < 3; ++rank) parts.push_back(shard_of(count, rank, 3));
  Optimizer all(whole, config, parts);
  std::vector<Optimizer> each;
  int64_t state = 0;
  for (const Shard& part : parts) {
    each.emplace_back(cut, config, std::vector<Shard>{part});
    EXPECT_EQ(each.back().state_bytes(), 2 * 4 * part.count);
    EXPECT_LE(each.back().state_bytes(), all.state_bytes() / 3 + 2 * 4 * kShardUnit);
    state += each.back().state_bytes();
  }
  EXPECT_EQ(state, all.state_bytes());
  at::manual_seed(5);
  for (int step = 0; step < 5; ++step) {
    const at::NoGradGuard no_grad;
    whole.flat_gradients().normal_();
    cut.flat_gradients().copy_(whole.flat_gradients());
    all.step(1e-2);
    for (Optimizer& optimizer : each) optimizer.step(1e-2);
  }
  EXPECT_TRUE(at::equal(whole.flat_weights(), cut.flat_weights()));
}

TEST(OptimizerTest, SgdIsPlain) {
  Transformer model(tiny());
  model.init_weights(1);
  model.require_gradients();
  TrainConfig config;
  config.optimizer = "sgd";
  config.weight_decay = 0;
  const at::Tensor before = model.flat_weights().clone();
  Optimizer optimizer(model, config, {{0, model.flat_weights().numel()}});
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