// What lies on a GPU is computed there, whichever one is current.
#include <ATen/ATen.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <gtest/gtest.h>

#include "model/transformer.h"
#include "student/loss.h"
#include "student/trunk_graph.h"
#include "tests/gpu/gpu_test.h"
#include "tests/student/loss_cases.h"

namespace temper {
namespace {

class SecondGpuTest : public GpuTest {
 protected:
  void SetUp() override {
    if (gpus() < 2) GTEST_SKIP() << "needs two GPUs";
  }
  void TearDown() override {
    if (gpus() < 2) return;
    EXPECT_EQ(c10::impl::getDeviceGuardImpl(at::kCUDA)->getDevice().index(), 0);
  }

  const at::Device second_{at::kCUDA, 1};
};

TEST_F(SecondGpuTest, TheLoss) {
  at::manual_seed(8);
  const at::Tensor logits = at::randn({9, 1037}) * 3, teacher = at::randn({9, 1037}) * 3;  // (N, V)
  const at::Tensor labels = at::randint(1037, {9}, at::kLong);                             // (N)
  for (const LossCase& which : loss_cases()) {
    SCOPED_TRACE(which.name);
    const SoftTargets soft = soft_targets_of(which.payload, teacher, 2.0);
    const LossConfig config = which.config(0.6, 2.0, 0.1);
    at::Tensor right = logits.to(at::kDouble), given = logits.to(second_);
    const LossSums expected = distillation_loss_(right, soft, labels, config);
    const LossSums sums = distillation_loss_(given, soft.to(second_), labels.to(second_), config);
    EXPECT_EQ(given.device(), second_);
    EXPECT_NEAR(sums.loss, expected.loss, 1e-5 * std::abs(expected.loss));
    EXPECT_LE(relative_error(given, right), 1e-5);
  }
}

TEST_F(SecondGpuTest, RecordedLayers) {
  TransformerConfig shape;
  shape.family = Family::kQwen3;  // rotary, with norms of its heads
  shape.vocab = 131;
  shape.positions = 96;
  shape.layers = 2;
  shape.width = 128;
  shape.heads = 4;
  shape.kv_heads = 2;
  shape.head_width = 32;
  shape.ffn_width = 256;
  shape.qk_norm = true;
  at::manual_seed(9);
  const at::Tensor tokens = at::randint(131, {3, 65}, at::kLong).to(second_);  // (B, S)
  const at::Tensor probe = at::randn({3 * 65, 128}).to(second_);               // (N, C)
  Transformer called(shape, at::kFloat, second_), recorded(shape, at::kFloat, second_);
  for (Transformer* model : {&called, &recorded}) {
    model->init_weights(3);
    model->require_gradients();
  }
  at::Tensor right;  // (N, C)
  {
    const at::AutoGradMode grad(true);
    right = called.hidden(tokens, at::kFloat).flatten(0, 1);
  }
  right.backward(probe);
  Transformer::Cast cast(recorded, at::kFloat);
  cast.through(recorded.flat_weights().numel());
  const std::unique_ptr<TrunkGraph> trunk = record_trunk(recorded, at::kFloat, tokens.sizes());
  ASSERT_NE(trunk, nullptr);
  const at::Tensor hidden = trunk->forward(tokens);
  EXPECT_EQ(hidden.device(), second_);
  EXPECT_TRUE(at::equal(hidden, right.detach()));
  trunk->backward(probe);
  EXPECT_LE(
      relative_error(recorded.flat_gradients(), called.flat_gradients().cpu().to(at::kDouble)),
      1e-6);
}

}  // namespace
}  // namespace temper
