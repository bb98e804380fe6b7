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

// The state of three ranks goes on as that of two, and as that of one.
TEST(OptimizerTest, GoesOnFromAStateThatWasCutOtherwise) {
  TrainConfig config;
  const auto gradient = [](int64_t step, int64_t count) {
    at::manual_seed(static_cast<uint64_t>(step) + 9);
    return at::randn({count}, at::kFloat);  // (P)
  };
  Transformer reference(tiny());
  reference.init_weights(1);
  reference.require_gradients();
  const int64_t count = reference.flat_weights().numel();
  // Cut where both halves and thirds are, so that every rank updates the same pieces.
  const std::vector<Shard> pieces = {{0, 48}, {48, 80}, {128, count - 128}};
  Optimizer undisturbed(reference, config, pieces);
  const auto run = [&](Transformer& model, std::vector<Optimizer*> ranks, int64_t from,
                       int64_t to) {
    const at::NoGradGuard no_grad;
    for (int64_t step = from; step < to; ++step) {
      model.flat_gradients().copy_(gradient(step, count));
      for (Optimizer* rank : ranks) rank->step(1e-2);
    }
  };
  run(reference, {&undisturbed}, 0, 3);
  std::vector<OptimizerState> states;
  Transformer saved(tiny());
  saved.init_weights(1);
  saved.require_gradients();
  std::vector<Optimizer> three;
  for (const Shard& piece : pieces) three.emplace_back(saved, config, std::vector<Shard>{piece});
  run(saved, {&three[0], &three[1], &three[2]}, 0, 3);
  KeptMemory memory;
  for (const Optimizer& rank : three) states.push_back(rank.copy_state({0, count}, memory));
  // A whole optimizer's state, in two parts that cross the pieces.
  std::vector<OptimizerState> halves = {undisturbed.copy_state({0, 100}, memory),
                                        undisturbed.copy_state({100, count - 100}, memory)};
  EXPECT_EQ(halves[0].parts.size(), 2u);
  run(reference, {&undisturbed}, 3, 6);

  for (const std::vector<OptimizerState>& from : {states, halves}) {
    Transformer model(tiny());
    model.require_gradients();
    const at::NoGradGuard no_grad;
    model.flat_weights().copy_(saved.flat_weights());
    Optimizer first(model, config, {pieces[2]}), second(model, config, {pieces[0], pieces[1]});
    first.restore(from);
    second.restore(from);
    run(model, {&first, &second}, 3, 6);
    EXPECT_TRUE(at::equal(model.flat_weights(), reference.flat_weights()));
    const OptimizerState end = second.copy_state({0, count}, memory),
                         wanted = undisturbed.copy_state({0, 128}, memory);
    EXPECT_EQ(end.updates, 6);
    EXPECT_TRUE(at::equal(end.moments, wanted.moments));
  }

  Optimizer other(saved, config, {{0, count}});
  EXPECT_THROW(other.restore({states[0], states[2]}), c10::ValueError);  // a piece is missing
  states[1].updates = 2;
  EXPECT_THROW(other.restore(states), c10::ValueError);
  config.optimizer = "sgd";
  Optimizer sgd(saved, config, {{0, count}});
  EXPECT_THROW(sgd.restore(halves), c10::ValueError);
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