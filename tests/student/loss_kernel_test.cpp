// The kernel against the same formulas by LibTorch's own operations in double precision: every kind
// of soft target and divergence, every dtype, every way to take two softmaxes from one exponential.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <mutex>
#include <set>
#include <thread>

#include "student/head_loss.h"
#include "student/loss.h"
#include "student/loss_tensors.h"
#include "tests/student/counting_allocator.h"
#include "tests/student/loss_cases.h"

namespace temper {
namespace {

constexpr int64_t kTokens = 5, kVocab = 1037;  // no multiple of a vector

class LossKernelTest : public testing::TestWithParam<std::tuple<LossCase, double, at::ScalarType>> {
};

TEST_P(LossKernelTest, EqualsTensorOperationsInDouble) {
  const auto [which, temperature, dtype] = GetParam();
  at::manual_seed(3);
  at::Tensor logits = (at::randn({kTokens, kVocab}) * 3).to(dtype);         // (N, V)
  const at::Tensor teacher = (at::randn({kTokens, kVocab}) * 3).to(dtype);  // (N, V)
  const at::Tensor labels = at::randint(kVocab, {kTokens}, at::kLong);
  const SoftTargets soft = soft_targets_of(which.payload, teacher, temperature);
  for (const double smoothing : {0.0, 0.1}) {
    for (const bool weighted : {false, true}) {
      const LossConfig config = which.config(0.6, temperature, smoothing);
      const at::Tensor weights = weighted ? at::rand({kTokens}, at::kDouble) : at::Tensor();
      at::Tensor right = logits.to(at::kDouble).clone(), given = logits.clone();
      SoftTargets exact = soft;
      if (which.payload == Payload::kFull) exact = SoftTargets::of_logits(teacher.to(at::kDouble));
      const LossSums expected = tensor_loss_(right, exact, labels, config, weights);
      const LossSums sums = distillation_loss_(given, soft, labels, config, weights);
      const double least = dtype == at::kDouble ? 1e-10 : 1e-5;
      EXPECT_NEAR(sums.loss, expected.loss, least * std::abs(expected.loss));
      EXPECT_NEAR(sums.kl, expected.kl, 2 * least * std::max(1.0, std::abs(expected.kl)));
      EXPECT_NEAR(sums.ce, expected.ce, least * expected.ce);
      EXPECT_EQ(sums.tokens, kTokens);
      // A 16-bit gradient is rounded once.
      const double rounding = dtype == at::kBFloat16 ? 3e-3 : dtype == at::kHalf ? 4e-4 : least;
      EXPECT_LE(relative_error(given, right), rounding) << smoothing << ' ' << weighted;
      // As devices without a kernel compute it, in this dtype.
      at::Tensor by_tensors = logits.clone();
      const LossSums same = tensor_loss_(by_tensors, soft, labels, config, weights);
      EXPECT_NEAR(same.loss, expected.loss, least * std::abs(expected.loss));
      EXPECT_LE(relative_error(by_tensors, right), rounding) << smoothing << ' ' << weighted;
    }
  }
}

// In other memory, or where the teacher's logits were, the gradient has the same bits.
TEST_P(LossKernelTest, GradientsLieWhereTheyAreWanted) {
  const auto [which, temperature, dtype] = GetParam();
  at::manual_seed(12);
  const at::Tensor logits = (at::randn({kTokens, kVocab}) * 3).to(dtype);   // (N, V)
  const at::Tensor teacher = (at::randn({kTokens, kVocab}) * 3).to(dtype);  // (N, V)
  const at::Tensor labels = at::randint(kVocab, {kTokens}, at::kLong);      // (N)
  const at::Tensor rows = at::empty({3, kTokens}, at::kDouble);             // (3, N)
  const LossConfig config = which.config(0.6, temperature, 0.1);
  const SoftTargets soft = soft_targets_of(which.payload, teacher, temperature);
  at::Tensor expected = logits.clone();  // (N, V)
  const LossSums sums = distillation_loss_(expected, soft, labels, config);
  for (const bool over_teacher : {false, true}) {
    if (over_teacher && which.payload != Payload::kFull) continue;
    SoftTargets same = soft;
    if (over_teacher) same.values = teacher.clone();                                    // (N, V)
    at::Tensor given = logits.clone();                                                  // (N, V)
    const at::Tensor gradient = over_teacher ? same.values : at::full_like(logits, 7);  // (N, V)
    distillation_loss_rows_(given, same, labels, config, {}, rows, gradient);
    EXPECT_TRUE(gradient.equal(expected)) << over_teacher;
    EXPECT_EQ(sums_of(rows).loss, sums.loss) << over_teacher;
  }
}

std::string name_of(const testing::TestParamInfo<LossKernelTest::ParamType>& info) {
  const auto [which, temperature, dtype] = info.param;
  return std::string(which.name) + "_T" + std::to_string(static_cast<int>(temperature * 10)) + "_" +
         c10::toString(dtype);
}

INSTANTIATE_TEST_SUITE_P(All, LossKernelTest,
                         testing::Combine(testing::ValuesIn(loss_cases()),
                                          testing::Values(0.5, 1.0, 1.7, 2.0, 3.0, 4.0, 8.0),
                                          testing::Values(at::kFloat, at::kDouble, at::kBFloat16,
                                                          at::kHalf)),
                         name_of);

TEST(LossKernelTest, ThreadsDoNotChangeABit) {
  at::manual_seed(4);
  const at::Tensor logits = at::randn({67, kVocab}), teacher = at::randn({67, kVocab});
  const at::Tensor labels = at::randint(kVocab, {67}, at::kLong);
  const int threads = at::get_num_threads();
  at::Tensor gradients[2];
  LossSums sums[2];
  for (const int which : {0, 1}) {
    at::set_num_threads(1 + which * 3);
    gradients[which] = logits.clone();
    sums[which] =
        distillation_loss_(gradients[which], SoftTargets::of_logits(teacher), labels, {0.5, 2.0});
  }
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(gradients[0], gradients[1]));
  EXPECT_EQ(sums[0].loss, sums[1].loss);
  EXPECT_EQ(sums[0].kl, sums[1].kl);
}

// What is no number must not become one in the fast exponential.
TEST(LossKernelTest, NotANumberStaysOne) {
  for (const double bad : {std::nan(""), HUGE_VAL}) {
    for (const bool in_teacher : {false, true}) {
      at::Tensor logits = at::randn({2, 50}), teacher = at::randn({2, 50});
      (in_teacher ? teacher : logits)[1][49] = bad;
      const LossSums sums = distillation_loss_(logits, SoftTargets::of_logits(teacher),
                                               at::zeros({2}, at::kLong), {0.5, 2.0});
      EXPECT_TRUE(std::isnan(sums.loss));
      EXPECT_TRUE(at::isfinite(logits[0]).all().item<bool>());
      EXPECT_TRUE(at::isnan(logits[1]).all().item<bool>());
    }
  }
}

TEST(LossKernelTest, MaskedIdsHaveNoGradient) {
  at::Tensor logits = at::randn({3, 50}), teacher = at::randn({3, 50});
  logits.narrow(1, 40, 10).fill_(-HUGE_VAL);
  teacher.narrow(1, 40, 10).fill_(-HUGE_VAL);
  for (const char* kind : {"forward-kl", "reverse-kl", "jsd", "tvd"}) {
    LossConfig config{0.5, 2.0};
    config.kind = kind;
    at::Tensor gradient = logits.clone();
    const LossSums sums = distillation_loss_(gradient, SoftTargets::of_logits(teacher),
                                             at::zeros({3}, at::kLong), config);
    EXPECT_TRUE(std::isfinite(sums.loss)) << kind;
    EXPECT_EQ(gradient.narrow(1, 40, 10).abs().max().item<float>(), 0) << kind;
    EXPECT_TRUE(at::isfinite(gradient).all().item<bool>()) << kind;
  }
}

// Twice as many tokens take no larger buffer, and a call that finds its workspace makes none.
TEST(LossKernelTest, NoBufferOfAllTokensAndNoneInTheSteadyState) {
  constexpr int64_t kWide = 16384, kRows = 4096, kWidth = 32;
  at::manual_seed(6);
  const at::Tensor hidden = at::randn({kRows, kWidth}).to(at::kBFloat16);
  const at::Tensor head = at::randn({kWide, kWidth}).to(at::kBFloat16);
  const at::Tensor gradient = at::zeros({kWide, kWidth});
  const at::Tensor labels = at::randint(kWide, {kRows}, at::kLong);
  SoftTargets soft;
  soft.kind = Payload::kHidden;
  soft.values = hidden;
  soft.head = head;
  HeadLossWorkspace workspace;
  HeadLossOptions options;
  options.workspace = &workspace;
  at::Tensor of_hidden;
  CountingAllocator allocator;
  head_loss(hidden, head, gradient, labels, soft, {0.5, 2.0}, of_hidden, options);
  EXPECT_LE(allocator.largest(), size_t{32} << 20);
  EXPECT_LT(allocator.largest(), static_cast<size_t>(kRows * kWide * 2) / 4);
  allocator.reset();
  head_loss(hidden, head, gradient, labels, soft, {0.5, 2.0}, of_hidden, options);
  EXPECT_LE(allocator.largest(), static_cast<size_t>(2 * kRows * kWidth) * 8);  // as N·C
}

// at::parallel_for is a template: a file of ours that is compiled without OpenMP runs it on one
// thread, and nothing but the time tells.
TEST(LossKernelTest, RowsAreSharedOutToThreads) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "built without OpenMP, which the thread sanitizer does not see through";
#endif
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  std::set<std::thread::id> threads;
  std::mutex mutex;
  at::parallel_for(0, 2, 1, [&](int64_t, int64_t) {
    const std::lock_guard<std::mutex> lock(mutex);
    threads.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(threads.size(), 2);

  at::manual_seed(8);
  const at::Tensor logits = at::randn({7, 301}), teacher = at::randn({7, 301});
  std::vector<at::Tensor> gradients;
  std::vector<double> losses;
  for (const int count : {1, 2}) {
    at::set_num_threads(count);
    gradients.push_back(logits.clone());
    losses.push_back(distillation_loss_(gradients.back(), SoftTargets::of_logits(teacher),
                                        at::zeros({7}, at::kLong), {0.5, 2.0})
                         .loss);
  }
  at::set_num_threads(before);
  EXPECT_TRUE(gradients[0].equal(gradients[1]));
  EXPECT_EQ(losses[0], losses[1]);
}

// The largest logit moves from block to block of a row, up and down, by little and by much.
TEST(LossKernelTest, BlocksOfARowAgreeOnItsLargestLogit) {
  constexpr int64_t kLong = 5000, kRows = 4;
  at::manual_seed(9);
  const at::Tensor ramp = at::arange(kLong, at::kDouble) / 1024.0;  // (V)
  const std::vector<at::Tensor> rows = {ramp * 3, ramp * -3, ramp * 40, ramp * -40};
  const at::Tensor logits = at::stack(rows) + at::randn({kRows, kLong}, at::kDouble);  // (n, V)
  const at::Tensor teacher =
      at::stack({rows[1], rows[0], rows[0], rows[3]}) + at::randn({kRows, kLong}, at::kDouble);
  const at::Tensor labels = at::tensor({0, 4999, 2048, 3000}, at::kLong);
  for (const double temperature : {1.0, 2.0, 1.7}) {
    const LossConfig config{0.6, temperature};
    for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
      at::Tensor gradient = logits.to(type, /*non_blocking=*/false, /*copy=*/true);
      const LossSums sums =
          distillation_loss_(gradient, SoftTargets::of_logits(teacher.to(type)), labels, config);
      // By autograd, in float64.
      at::Tensor z = logits.clone().requires_grad_();
      const at::AutoGradMode grad(true);
      const at::Tensor q = at::softmax(teacher / temperature, 1);
      const at::Tensor log_p = at::log_softmax(z / temperature, 1);
      const at::Tensor kl = (q * (at::log_softmax(teacher / temperature, 1) - log_p)).sum();
      const at::Tensor ce = at::nll_loss(at::log_softmax(z, 1), labels, {}, at::Reduction::Sum);
      const at::Tensor loss = 0.6 * temperature * temperature * kl + 0.4 * ce;
      loss.backward();
      const double bound = type == at::kDouble ? 1e-10 : 2e-6;
      EXPECT_NEAR(sums.loss / loss.item<double>(), 1.0, bound) << temperature;
      EXPECT_LE((gradient.to(at::kDouble) - z.grad()).norm().item<double>(),
                bound * z.grad().norm().item<double>())
          << temperature;
    }
  }
}

// A vocabulary whose first ids, more than a block of them, have no probability.
TEST(LossKernelTest, ABlockWithoutProbabilityIsAsIfItWereNotThere) {
  constexpr int64_t kMasked = 2500, kRest = 1500, kRows = 3;
  at::manual_seed(10);
  const at::Tensor logits = at::randn({kRows, kRest}, at::kDouble) * 3;        // (n, V')
  const at::Tensor teacher = at::randn({kRows, kRest}, at::kDouble) * 3;       // (n, V')
  const at::Tensor none = at::full({kRows, kMasked}, -HUGE_VAL, at::kDouble);  // (n, masked)
  const at::Tensor labels = at::tensor({0, 1000, 1499}, at::kLong);
  for (const double temperature : {2.0, 0.05}) {
    for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
      const LossConfig config{0.6, temperature};
      at::Tensor rest = logits.to(type, /*non_blocking=*/false, /*copy=*/true);  // (n, V')
      at::Tensor all = at::cat({none, logits}, 1).to(type);                      // (n, V)
      const LossSums expected =
          distillation_loss_(rest, SoftTargets::of_logits(teacher.to(type)), labels, config);
      const LossSums sums =
          distillation_loss_(all, SoftTargets::of_logits(at::cat({none, teacher}, 1).to(type)),
                             labels + kMasked, config);
      const double bound = type == at::kDouble ? 1e-12 : 1e-5;
      EXPECT_NEAR(sums.loss, expected.loss, bound * expected.loss) << temperature;
      EXPECT_EQ(all.narrow(1, 0, kMasked).abs().max().item<double>(), 0) << temperature;
      EXPECT_LE(relative_error(all.narrow(1, kMasked, kRest), rest.to(at::kDouble)), bound)
          << temperature;
    }
  }
}

}  // namespace
}  // namespace temper
