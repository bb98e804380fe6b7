// Which tokens count.
#include "student/token_choice.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "data/corpus.h"
#include "tests/student/loss_cases.h"

namespace temper {
namespace {

TEST(TokenChoiceTest, TheLeastSureOfEachRowCount) {
  const at::Tensor labels =
      at::tensor(std::vector<int64_t>{5, kIgnoredLabel, 6, 7, 1, 2, 3, 4});  // 2 rows of 4
  const at::Tensor entropy = at::tensor({0.1, 9.0, 0.3, 0.2, 2.0, 1.0, 2.0, 3.0}, at::kDouble);
  TokenChoiceConfig config{.by = "teacher-entropy", .share = 0.5, .weigh = true};
  const ChosenTokens chosen = choose_tokens(config, labels, 4, entropy);
  // Of three valid tokens two, rounded up; of equal ones the earlier.
  const at::Tensor expected = at::tensor(
      std::vector<int64_t>{kIgnoredLabel, kIgnoredLabel, 6, 7, 1, kIgnoredLabel, kIgnoredLabel, 4});
  EXPECT_TRUE(chosen.labels.equal(expected));
  const at::Tensor weights = at::tensor({0.0, 0.0, 1.2, 0.8, 0.8, 0.0, 0.0, 1.2}, at::kDouble);
  EXPECT_TRUE(at::allclose(chosen.weights, weights));
  config.share = 1;
  config.weigh = false;
  EXPECT_TRUE(choose_tokens(config, labels, 4, entropy).labels.equal(labels));
  EXPECT_FALSE(choose_tokens(config, labels, 4, entropy).weights.defined());
}

TEST(TokenChoiceTest, EntropiesOfEveryPayload) {
  at::manual_seed(2);
  const at::Tensor hidden = at::randn({9, 4}), head = at::randn({30, 4});
  const at::Tensor logits = at::mm(hidden, head.t());  // (N, V)
  const at::Tensor log_q = at::log_softmax(logits.to(at::kDouble) / 2, 1);
  const at::Tensor right = -(log_q.exp() * log_q).sum(1);  // (N)
  EXPECT_TRUE(at::allclose(entropy_of(hidden, head, 2), right, 1e-5, 1e-6));
  SoftTargets of_hidden;
  of_hidden.kind = Payload::kHidden;
  of_hidden.values = hidden;
  of_hidden.head = head;
  EXPECT_TRUE(at::allclose(entropy_of(of_hidden, 2), right, 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(entropy_of(SoftTargets::of_logits(logits), 2), right, 1e-5, 1e-6));
  EXPECT_TRUE(
      at::allclose(entropy_of(soft_targets_of(Payload::kSample, logits, 2), 2), right, 1e-5, 1e-6));
  // The tail as one outcome has less than its ids.
  const at::Tensor of_top = entropy_of(soft_targets_of(Payload::kTopk, logits, 2), 2);
  EXPECT_TRUE((of_top <= right).all().item<bool>());
  EXPECT_TRUE((of_top > 0).all().item<bool>());
}

TEST(TokenChoiceTest, BadValuesAreNamed) {
  EXPECT_THROW((TokenChoiceConfig{.by = "entropy"}.validate()), c10::ValueError);
  EXPECT_THROW((TokenChoiceConfig{.by = "all", .share = 0.5}.validate()), c10::ValueError);
  EXPECT_THROW((TokenChoiceConfig{.by = "all", .weigh = true}.validate()), c10::ValueError);
  EXPECT_THROW((TokenChoiceConfig{.by = "student-entropy", .share = 0}.validate()),
               c10::ValueError);
}

}  // namespace
}  // namespace temper
