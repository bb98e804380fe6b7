// What a fixed temperature in the loss of hard labels is worth: a rescaled output layer. softmax(W
// h / T) and softmax((W/T) h) are the same function, and under plain SGD, with the learning rate of
// the second 1/T² of the first, they stay the same from step to step.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "student/head_loss.h"

namespace temper {
namespace {

TEST(TemperaturePathTest, ATemperedLossIsARescaledHead) {
  constexpr int64_t kTokens = 32, kWidth = 6, kVocab = 15, kSteps = 200;
  constexpr double kRate = 0.05;
  for (const double temperature : {0.5, 2.0, 4.0}) {
    at::manual_seed(4);
    at::Tensor tempered = at::randn({kVocab, kWidth}, at::kDouble);  // (V, C), trained at T
    at::Tensor plain = tempered / temperature;                       // (V, C), trained at 1
    LossConfig at_t, at_one;
    at_t.labels = {.temperature = temperature, .rescale = false};
    double first = 0, last = 0;
    for (int64_t step = 0; step < kSteps; ++step) {
      const at::Tensor hidden = at::randn({kTokens, kWidth}, at::kDouble);  // (N, C)
      const at::Tensor labels = hidden.argmax(1);                           // (N)
      at::Tensor of_tempered = at::zeros_like(tempered), of_plain = at::zeros_like(plain), unused;
      const LossSums a = head_loss(hidden, tempered, of_tempered, labels, {}, at_t, unused);
      const LossSums b = head_loss(hidden, plain, of_plain, labels, {}, at_one, unused);
      ASSERT_NEAR(a.loss, b.loss, 1e-9 * b.loss) << step;
      tempered.sub_(of_tempered, kRate);
      plain.sub_(of_plain, kRate / (temperature * temperature));
      ASSERT_TRUE(at::allclose(plain * temperature, tempered, 1e-9, 1e-12)) << step;
      if (step == 0) first = a.loss;
      last = a.loss;
    }
    EXPECT_LT(last, 0.8 * first);  // and it does learn
  }
}

}  // namespace
}  // namespace temper
