// Matching of hidden states against autograd in double precision, and that it learns.
#include "student/hidden_match.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "comm/collectives.h"
#include "data/corpus.h"

namespace temper::hidden_match_test {
namespace {

constexpr int64_t kTokens = 7, kStudent = 5, kTeacher = 8;

class HiddenMatchTest : public testing::TestWithParam<std::string> {};

TEST_P(HiddenMatchTest, GradientsEqualAutograd) {
  at::manual_seed(3);
  const at::Tensor like = at::zeros({1}, at::kDouble);
  HiddenMatch match({.weight = 0.7, .kind = GetParam()}, {}, kStudent, kTeacher, 1, like);
  const at::Tensor hidden = at::randn({kTokens, kStudent}, at::kDouble);   // (N, C)
  const at::Tensor teacher = at::randn({kTokens, kTeacher}, at::kDouble);  // (N, D)
  at::Tensor labels = at::zeros({kTokens}, at::kLong);                     // (N)
  labels[2] = kIgnoredLabel;
  at::Tensor of_hidden = at::ones_like(hidden);  // what is there is added to
  const double value = match.loss(hidden, teacher, labels, of_hidden);

  const at::AutoGradMode grad(true);
  const at::Tensor h = hidden.clone().requires_grad_();
  const at::Tensor p = match.projection().clone().requires_grad_();
  const at::Tensor u = at::mm(h, p.t());  // (N, D)
  const at::Tensor each = GetParam() == "mse" ? (u - teacher).square().mean(1)
                                              : 1 - at::cosine_similarity(u, teacher, 1);  // (N)
  const at::Tensor sum = (each * (labels != kIgnoredLabel)).sum();
  (sum * 0.7).backward();
  EXPECT_NEAR(value, sum.item<double>(), 1e-10);
  EXPECT_TRUE(at::allclose(of_hidden - 1, h.grad(), 1e-9, 1e-12));
  EXPECT_TRUE(at::allclose(match.gradient(), p.grad(), 1e-9, 1e-12));
}

TEST(HiddenMatchCosineTest, ZerosHaveNoDirection) {
  HiddenMatch match({.weight = 1, .kind = "cosine"}, {}, kStudent, kTeacher, 1,
                    at::zeros({1}, at::kDouble));
  at::Tensor of_hidden = at::zeros({kTokens, kStudent}, at::kDouble);  // (N, C)
  const double value =
      match.loss(at::zeros_like(of_hidden), at::ones({kTokens, kTeacher}, at::kDouble),
                 at::zeros({kTokens}, at::kLong), of_hidden);
  EXPECT_EQ(value, kTokens);
  EXPECT_EQ(of_hidden.abs().max().item<double>(), 0);
  EXPECT_EQ(match.gradient().abs().max().item<double>(), 0);
}

TEST_P(HiddenMatchTest, EqualWidthsBeginEqual) {
  at::manual_seed(4);
  const at::Tensor hidden = at::randn({kTokens, kStudent});  // (N, C)
  HiddenMatch match({.weight = 1, .kind = GetParam()}, {}, kStudent, kStudent, 1, hidden);
  at::Tensor of_hidden = at::zeros_like(hidden);
  EXPECT_NEAR(match.loss(hidden, hidden, at::zeros({kTokens}, at::kLong), of_hidden), 0, 1e-5);
  EXPECT_LT(of_hidden.abs().max().item<double>(), 1e-6);
}

TEST_P(HiddenMatchTest, TheProjectionLearnsALinearTeacher) {
  at::manual_seed(5);
  TrainConfig train;
  HiddenMatch match({.weight = 1, .kind = GetParam()}, train, kStudent, kTeacher, 1,
                    at::zeros({1}));
  const std::unique_ptr<Collectives> alone = make_mpi_collectives(Communicator::self());
  const at::Tensor truth = at::randn({kTeacher, kStudent});  // (D, C)
  const at::Tensor labels = at::zeros({64}, at::kLong);
  double first = 0, last = 0;
  for (int step = 0; step < 400; ++step) {
    const at::Tensor hidden = at::randn({64, kStudent});  // (N, C)
    at::Tensor of_hidden = at::zeros_like(hidden);
    last = match.loss(hidden, at::mm(hidden, truth.t()), labels, of_hidden) / 64;
    if (step == 0) first = last;
    match.update(2e-2, 1.0 / 64, *alone);
  }
  EXPECT_LT(last, 0.02 * first);
}

INSTANTIATE_TEST_SUITE_P(Kinds, HiddenMatchTest, testing::Values("cosine", "mse"),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace temper::hidden_match_test
