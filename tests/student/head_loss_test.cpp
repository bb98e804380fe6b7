// The chunked head and loss against autograd through the whole (N, V) matrix.
#include "student/head_loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "data/corpus.h"

namespace temper {
namespace {

TEST(HeadLossTest, EqualsAutogradForEveryChunkSize) {
  at::manual_seed(3);
  const int64_t tokens = 37, width = 8, vocab = 19;
  const at::Tensor hidden = at::randn({tokens, width}, at::kDouble);
  const at::Tensor head = at::randn({vocab, width}, at::kDouble);
  const at::Tensor teacher = at::randn({tokens, vocab}, at::kDouble);
  at::Tensor labels = at::randint(vocab, {tokens}, at::kLong);
  const LossConfig config{0.4, 2.5};
  for (const bool ignore : {false, true}) {
    if (ignore) labels.index_put_({at::tensor({0, 5, 6, 36})}, at::tensor(kIgnoredLabel));
    const at::Tensor h = hidden.clone().requires_grad_();
    const at::Tensor w = head.clone().requires_grad_();
    const at::Tensor z = at::mm(h, w.t());  // (N, V)
    const at::Tensor valid = (labels != kIgnoredLabel).to(at::kDouble);
    const at::Tensor log_p = at::log_softmax(z / 2.5, 1), log_q = at::log_softmax(teacher / 2.5, 1);
    const at::Tensor kl = ((log_q.exp() * (log_q - log_p)).sum(1) * valid).sum();
    const at::Tensor ce = at::cross_entropy_loss(z, labels, {}, at::Reduction::Sum, kIgnoredLabel);
    (0.4 * 2.5 * 2.5 * kl + 0.6 * ce).backward();
    for (const int64_t chunk : {0, 1, 5, 37, 1000}) {
      at::Tensor head_gradient = at::ones_like(head);  // what is there is added to
      at::Tensor hidden_gradient;
      const LossSums sums =
          head_loss(hidden, head, head_gradient, labels, SoftTargets::of_logits(teacher), config,
                    hidden_gradient, {.chunk_tokens = chunk});
      EXPECT_EQ(sums.tokens, ignore ? 33 : 37);
      EXPECT_NEAR(sums.kl, kl.item<double>(), 1e-9);
      EXPECT_NEAR(sums.ce, ce.item<double>(), 1e-9);
      EXPECT_TRUE(at::allclose(hidden_gradient, h.grad(), 1e-9, 1e-11)) << chunk;
      EXPECT_TRUE(at::allclose(head_gradient - 1, w.grad(), 1e-9, 1e-11)) << chunk;
    }
  }
}

TEST(HeadLossTest, NoValidTokenGivesNothing) {
  const at::Tensor hidden = at::randn({4, 3}), head = at::randn({5, 3});
  at::Tensor head_gradient = at::zeros({5, 3}), hidden_gradient;
  const LossSums sums = head_loss(hidden, head, head_gradient,
                                  at::full({4}, kIgnoredLabel, at::kLong), {}, {}, hidden_gradient);
  EXPECT_EQ(sums.tokens, 0);
  EXPECT_EQ(sums.loss, 0);
  EXPECT_EQ(hidden_gradient.abs().sum().item<float>(), 0);
  EXPECT_EQ(head_gradient.abs().sum().item<float>(), 0);
}

TEST(HeadLossTest, Bfloat16IsNearDouble) {
  at::manual_seed(5);
  const at::Tensor hidden = at::randn({64, 32}, at::kDouble),
                   head = at::randn({101, 32}, at::kDouble) * 0.2;
  const at::Tensor teacher = at::randn({64, 101}, at::kDouble);
  const at::Tensor labels = at::randint(101, {64}, at::kLong);
  at::Tensor exact_head = at::zeros_like(head), exact_hidden, head_gradient = at::zeros({101, 32}),
             hidden_gradient;
  head_loss(hidden, head, exact_head, labels, SoftTargets::of_logits(teacher), {0.5, 2.0},
            exact_hidden);
  head_loss(hidden.to(at::kBFloat16), head.to(at::kFloat), head_gradient, labels,
            SoftTargets::of_logits(teacher.to(at::kBFloat16)), {0.5, 2.0}, hidden_gradient);
  const auto error = [](const at::Tensor& a, const at::Tensor& b) {
    return ((a.to(at::kDouble) - b).norm() / b.norm()).item<double>();
  };
  EXPECT_LT(error(head_gradient, exact_head), 1e-2);
  EXPECT_LT(error(hidden_gradient, exact_hidden), 1e-2);
}

}  // namespace
}  // namespace temper
