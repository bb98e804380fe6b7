// The chunked head and loss against autograd through the whole (N, V) matrix.
#include "student/head_loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>

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

// The gradient by the logits in the teacher's memory, and one product for all tokens.
TEST(HeadLossTest, OverTheTeachersLogitsItIsTheSame) {
  at::manual_seed(7);
  const int64_t tokens = 45, width = 16, vocab = 131;
  const at::Tensor hidden = at::randn({tokens, width}, at::kDouble);       // (N, C)
  const at::Tensor head = at::randn({vocab, width}, at::kDouble) * 0.3;    // (V, C)
  const at::Tensor teacher = at::randn({tokens, vocab}, at::kDouble) * 2;  // (N, V)
  const at::Tensor weights = at::rand({tokens}, at::kDouble);              // (N)
  const at::Tensor there = at::randn({vocab, width}, at::kDouble);         // (V, C)
  const at::Tensor all = at::randint(vocab, {tokens}, at::kLong);          // (N)
  const at::Tensor ignored =
      at::tensor({0, 1, 7, 8, 9, 20, 43}, at::kLong);                 // rows move up past them
  const at::Tensor some = all.index_fill(0, ignored, kIgnoredLabel);  // (N)
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const at::ScalarType of_sums = type == at::kDouble ? at::kDouble : at::kFloat;
    const double bound = type == at::kDouble ? 1e-12 : type == at::kFloat ? 1e-5 : 1e-2;
    for (const at::Tensor& labels : {all, some, at::full_like(all, kIgnoredLabel)}) {
      for (const char* kind : {"forward-kl", "jsd"}) {
        for (const int64_t chunk : {0, 1, 7, 1000}) {
          SCOPED_TRACE(std::string(c10::toString(type)) + " " + kind + " " + std::to_string(chunk));
          LossConfig config{0.4, 2.5};
          config.kind = kind;
          config.labels.smoothing = 0.1;
          const SoftTargets given = SoftTargets::of_logits(teacher.to(type).clone());
          at::Tensor of_head[2], of_hidden[2];
          LossSums sums[2];
          for (const int which : {0, 1}) {
            of_head[which] = there.to(of_sums).clone();  // what is there is added to
            sums[which] = head_loss(
                hidden.to(type), head.to(type), of_head[which], labels, given, config,
                of_hidden[which],
                {.chunk_tokens = chunk, .weights = weights, .overwrite_teacher = which == 1});
            const int64_t valid = sums[which].tokens;
            EXPECT_EQ(given.values.equal(teacher.to(type)), which == 0 || valid == 0);
          }
          EXPECT_EQ(sums[0].tokens, sums[1].tokens);
          EXPECT_EQ(sums[0].loss, sums[1].loss);
          EXPECT_EQ(sums[0].kl, sums[1].kl);
          EXPECT_EQ(sums[0].ce, sums[1].ce);
          for (const auto* each : {of_head, of_hidden}) {
            const at::Tensor right = each[0].to(at::kDouble);
            EXPECT_LE((each[1].to(at::kDouble) - right).norm().item<double>(),
                      bound * right.norm().item<double>());
          }
        }
      }
    }
  }
}

// Only logits of the student's dtype can make room for its gradient.
TEST(HeadLossTest, OtherSoftTargetsAreLeftAsTheyAre) {
  at::manual_seed(8);
  const at::Tensor hidden = at::randn({9, 8}), head = at::randn({33, 8});  // (N, C), (V, C)
  const at::Tensor labels = at::randint(33, {9}, at::kLong);               // (N)
  const auto losses = [&](const SoftTargets& soft, bool overwrite) {
    at::Tensor of_head = at::zeros_like(head), of_hidden;
    const LossSums sums = head_loss(hidden, head, of_head, labels, soft, {0.5, 2.0}, of_hidden,
                                    {.overwrite_teacher = overwrite});
    return at::cat({of_head, of_hidden}).sum().item<double>() + sums.loss;
  };
  SoftTargets of_hidden;
  of_hidden.kind = Payload::kHidden;
  of_hidden.values = at::randn({9, 8});  // (N, C)
  of_hidden.head = at::randn({33, 8});   // (V, C)
  const SoftTargets wide = SoftTargets::of_logits(at::randn({9, 33}, at::kDouble)),
                    apart = SoftTargets::of_logits(at::randn({33, 9}).t());
  for (const SoftTargets& soft : {of_hidden, wide, apart, SoftTargets()}) {
    const at::Tensor before = soft.defined() ? soft.values.clone() : at::Tensor();
    EXPECT_EQ(losses(soft, false), losses(soft, true));
    EXPECT_TRUE(!soft.defined() || soft.values.equal(before));
  }
}

}  // namespace
}  // namespace temper
