// The kernel of the loss on a GPU, and head and loss in chunks there, against LibTorch's operations
// on the CPU in double precision.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "data/corpus.h"
#include "student/head_loss.h"
#include "student/loss.h"
#include "student/loss_tensors.h"
#include "tests/gpu/gpu_test.h"
#include "tests/student/loss_cases.h"

namespace temper {
namespace {

/// Logits (rows, vocab) on the GPU whose first element lies `offset` elements into its memory.
at::Tensor on_gpu(const at::Tensor& logits, int64_t offset) {
  const at::Tensor room = at::empty({logits.numel() + offset}, logits.options().device(at::kCUDA));
  at::Tensor placed = room.narrow(0, offset, logits.numel()).view(logits.sizes());
  placed.copy_(logits);
  return placed;
}

/// The least error that a gradient has in this dtype.
double rounding_of(at::ScalarType dtype) {
  if (dtype == at::kBFloat16) return 3e-3;
  if (dtype == at::kHalf) return 4e-4;
  return dtype == at::kDouble ? 1e-10 : 1e-5;
}

struct Size {
  int64_t tokens, vocab, offset;
  int64_t apart = 0;  // of the teacher's offset, beyond that
};

/// Where the gradient goes: in place of the logits, elsewhere, elsewhere where no vector of it lies
/// as one of the logits does, over the teacher's logits.
enum class Place { kLogits, kApart, kAskew, kTeacher };

void expect_equal(const LossCase& which, double temperature, at::ScalarType dtype,
                  at::ScalarType teacher_dtype, const Size& size) {
  at::manual_seed(3);
  const at::Tensor logits = (at::randn({size.tokens, size.vocab}) * 3).to(dtype);  // (N, V)
  const at::Tensor teacher =
      (at::randn({size.tokens, size.vocab}) * 3).to(teacher_dtype);  // (N, V)
  const at::Tensor labels = at::randint(size.vocab, {size.tokens}, at::kLong);
  const SoftTargets soft = soft_targets_of(which.payload, teacher, temperature);
  SoftTargets exact = soft;
  if (which.payload == Payload::kFull) exact = SoftTargets::of_logits(teacher.to(at::kDouble));
  const at::Tensor rows =
      at::empty({3, size.tokens}, at::TensorOptions(at::kDouble).device(at::kCUDA));  // (3, N)
  for (const double smoothing : {0.0, 0.1}) {
    const LossConfig config = which.config(0.6, temperature, smoothing);
    const at::Tensor weights =
        smoothing > 0 ? at::rand({size.tokens}, at::kDouble) : at::Tensor();  // (N)
    at::Tensor right = logits.to(at::kDouble).clone();
    const LossSums expected = tensor_loss_(right, exact, labels, config, weights);
    for (const Place place : {Place::kLogits, Place::kApart, Place::kAskew, Place::kTeacher}) {
      if (place == Place::kTeacher && (which.payload != Payload::kFull || dtype != teacher_dtype))
        continue;
      SCOPED_TRACE("smoothing " + std::to_string(smoothing) + ", place " +
                   std::to_string(static_cast<int>(place)));
      SoftTargets there = soft.to(at::kCUDA);
      if (which.payload == Payload::kFull)
        there = SoftTargets::of_logits(on_gpu(teacher, size.offset + size.apart));
      at::Tensor given = on_gpu(logits, size.offset), gradient;  // (N, V)
      if (place == Place::kApart) gradient = on_gpu(at::full_like(logits, 7), size.offset);
      if (place == Place::kAskew) gradient = on_gpu(at::full_like(logits, 7), size.offset + 1);
      if (place == Place::kTeacher) gradient = there.values;
      distillation_loss_rows_(given, there, labels.cuda(), config,
                              weights.defined() ? weights.cuda() : at::Tensor(), rows, gradient);
      const LossSums sums = sums_of(rows);
      const double least = dtype == at::kDouble ? 1e-10 : 1e-5;
      EXPECT_NEAR(sums.loss, expected.loss, least * std::abs(expected.loss));
      EXPECT_NEAR(sums.kl, expected.kl, 2 * least * std::max(1.0, std::abs(expected.kl)));
      EXPECT_NEAR(sums.ce, expected.ce, least * expected.ce);
      EXPECT_EQ(sums.tokens, size.tokens);
      EXPECT_LE(relative_error(place == Place::kLogits ? given : gradient, right),
                rounding_of(dtype));
    }
  }
}

class LossOnGpuTest
    : public GpuTest,
      public testing::WithParamInterface<std::tuple<LossCase, double, at::ScalarType>> {};

TEST_P(LossOnGpuTest, EqualsTensorOperationsInDouble) {
  const auto [which, temperature, dtype] = GetParam();
  for (const Size& size :
       {Size{5, 1037, 0}, Size{3, 4096, 0}, Size{2, 50257, 0}, Size{4, 1000, 3}}) {
    SCOPED_TRACE(size.vocab);
    expect_equal(which, temperature, dtype, dtype, size);
  }
}

std::string name_of(const testing::TestParamInfo<LossOnGpuTest::ParamType>& info) {
  const auto [which, temperature, dtype] = info.param;
  return std::string(which.name) + "_T" + std::to_string(static_cast<int>(temperature * 10)) + "_" +
         c10::toString(dtype);
}

INSTANTIATE_TEST_SUITE_P(
    All, LossOnGpuTest,
    testing::Combine(testing::ValuesIn(loss_cases()), testing::Values(0.5, 1.0, 1.7, 4.0),
                     testing::Values(at::kFloat, at::kDouble, at::kBFloat16, at::kHalf)),
    name_of);

class LossEdgesOnGpuTest : public GpuTest {};

// Small, for tools that watch every access.
TEST_F(LossEdgesOnGpuTest, SanitizedAllKinds) {
  for (const LossCase& which : loss_cases())
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
      expect_equal(which, 2.0, dtype, dtype, {3, 523, 1});
}

// Ids may be masked by a large number instead of an infinity, a thread's own part of a row as well.
TEST_F(LossEdgesOnGpuTest, MasksOfEverySize) {
  at::manual_seed(8);
  for (const LossCase& which : loss_cases()) {
    for (const double mask : {-1e4, -1e9, -1e30}) {
      for (const double temperature : {1.0, 1.7, 4.0}) {
        SCOPED_TRACE(which.name + (" " + std::to_string(mask)));
        at::Tensor logits = at::randn({3, 9000}) * 3;  // (N, V)
        const at::Tensor teacher = at::randn({3, 9000}) * 3;
        logits.narrow(1, 100, 8000).fill_(mask);
        teacher.narrow(1, 100, 8000).fill_(mask);
        const at::Tensor labels = at::tensor({3, 99, 8999}, at::kLong);  // (N)
        const SoftTargets soft = soft_targets_of(which.payload, teacher, temperature);
        const LossConfig config = which.config(0.6, temperature, 0.0);
        at::Tensor right = logits.to(at::kDouble).clone(), given = logits.cuda();
        SoftTargets exact = soft;
        if (which.payload == Payload::kFull)
          exact = SoftTargets::of_logits(teacher.to(at::kDouble));
        const LossSums expected = tensor_loss_(right, exact, labels, config);
        const LossSums sums = distillation_loss_(given, soft.to(at::kCUDA), labels.cuda(), config);
        EXPECT_NEAR(sums.loss, expected.loss, 1e-5 * std::abs(expected.loss));
        EXPECT_LE(relative_error(given, right), 1e-5);
      }
    }
  }
}

// What counts is how far logits are apart, not where they are.
TEST_F(LossEdgesOnGpuTest, LogitsFarFromZero) {
  at::manual_seed(9);
  for (const double offset : {-3e4, 3e4, 1e6}) {
    for (const char* kind : {"forward-kl", "jsd"}) {
      LossConfig config{0.5, 2.0};
      config.kind = kind;
      // Differences that float has exactly at that place.
      const at::Tensor logits = at::round(at::randn({3, 4001}) * 24) / 8 + offset;   // (N, V)
      const at::Tensor teacher = at::round(at::randn({3, 4001}) * 24) / 8 - offset;  // (N, V)
      const at::Tensor labels = at::tensor({0, 2000, 4000}, at::kLong);              // (N)
      at::Tensor given = logits.cuda(), right = logits.to(at::kDouble);
      const LossSums expected =
          tensor_loss_(right, SoftTargets::of_logits(teacher.to(at::kDouble)), labels, config);
      const LossSums sums =
          distillation_loss_(given, SoftTargets::of_logits(teacher.cuda()), labels.cuda(), config);
      EXPECT_NEAR(sums.loss, expected.loss, 1e-5 * expected.loss) << kind << offset;
      EXPECT_LE(relative_error(given, right), 1e-5) << kind << offset;
    }
  }
}

// What the teacher sent is not rounded to the student's type.
TEST_F(LossEdgesOnGpuTest, SanitizedTeachersOfOtherTypes) {
  for (const LossCase& which : loss_cases()) {
    if (which.payload != Payload::kFull) continue;
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
      for (const at::ScalarType teacher : {at::kFloat, at::kBFloat16, at::kHalf}) {
        SCOPED_TRACE(std::string(which.name) + " " + c10::toString(dtype) + " of " +
                     c10::toString(teacher));
        for (const Size& size : {Size{3, 523, 1}, Size{2, 4096, 0}, Size{2, 1001, 0, 1}})
          for (const double temperature : {1.7, 4.0})
            expect_equal(which, temperature, dtype, teacher, size);
      }
    }
  }
}

TEST_F(LossEdgesOnGpuTest, HardLabelsAlone) {
  at::manual_seed(4);
  const at::Tensor logits = at::randn({7, 911}) * 3, labels = at::randint(911, {7}, at::kLong);
  at::Tensor right = logits.to(at::kDouble), given = logits.cuda();
  const LossSums expected = tensor_loss_(right, {}, labels, {0.5, 2.0});
  const LossSums sums = distillation_loss_(given, {}, labels.cuda(), {0.5, 2.0});
  EXPECT_NEAR(sums.loss, expected.loss, 1e-5 * expected.loss);
  EXPECT_EQ(sums.kl, 0);
  EXPECT_LE(relative_error(given, right), 1e-5);
}

TEST_F(LossEdgesOnGpuTest, NotANumberStaysOne) {
  for (const double bad : {std::nan(""), HUGE_VAL}) {
    for (const bool in_teacher : {false, true}) {
      at::Tensor logits = at::randn({2, 50}), teacher = at::randn({2, 50});
      (in_teacher ? teacher : logits)[1][49] = bad;
      logits = logits.cuda();
      const LossSums sums = distillation_loss_(logits, SoftTargets::of_logits(teacher.cuda()),
                                               at::zeros({2}, at::kLong).cuda(), {0.5, 2.0});
      EXPECT_TRUE(std::isnan(sums.loss));
      EXPECT_TRUE(at::isfinite(logits[0]).all().item<bool>());
      EXPECT_TRUE(at::isnan(logits[1]).all().item<bool>());
    }
  }
}

// At a small T all of a tail's exponentials are 0 beside those of the K ids.
TEST_F(LossEdgesOnGpuTest, TailOfTopKAtSmallTemperatures) {
  at::manual_seed(6);
  const at::Tensor logits = at::randn({6, 1037}) * 3, teacher = at::randn({6, 1037}) * 3;  // (N, V)
  const at::Tensor labels = at::randint(1037, {6}, at::kLong);
  for (const LossCase& which : loss_cases()) {
    if (which.payload != Payload::kTopk) continue;
    for (const double temperature : {1e-3, 1e-2, 0.1}) {
      SCOPED_TRACE(which.name + (" " + std::to_string(temperature)));
      const SoftTargets soft = soft_targets_of(which.payload, teacher, temperature);
      const LossConfig config = which.config(0.6, temperature, 0.0);
      at::Tensor right = logits.to(at::kDouble).clone(), given = logits.to(at::kDouble).cuda();
      const LossSums expected = tensor_loss_(right, soft, labels, config);
      const LossSums sums = distillation_loss_(given, soft.to(at::kCUDA), labels.cuda(), config);
      ASSERT_TRUE(std::isfinite(expected.loss));
      EXPECT_NEAR(sums.loss, expected.loss, 1e-9 * std::abs(expected.loss));
      EXPECT_LE(relative_error(given, right), 1e-9);
    }
  }
}

TEST_F(LossEdgesOnGpuTest, MaskedIdsHaveNoGradient) {
  at::manual_seed(5);
  for (const int64_t begin : {int64_t{0}, int64_t{3000}}) {
    at::Tensor logits = at::randn({3, 4000}), teacher = at::randn({3, 4000});
    logits.narrow(1, begin, 1000).fill_(-HUGE_VAL);
    teacher.narrow(1, begin, 1000).fill_(-HUGE_VAL);
    for (const char* kind : {"forward-kl", "reverse-kl", "jsd", "tvd"}) {
      LossConfig config{0.5, 2.0};
      config.kind = kind;
      at::Tensor given = logits.cuda(), right = logits.to(at::kDouble);
      const at::Tensor labels = at::full({3}, 2000, at::kLong);
      const LossSums expected =
          tensor_loss_(right, SoftTargets::of_logits(teacher.to(at::kDouble)), labels, config);
      const LossSums sums =
          distillation_loss_(given, SoftTargets::of_logits(teacher.cuda()), labels.cuda(), config);
      EXPECT_NEAR(sums.loss, expected.loss, 1e-5 * expected.loss) << kind;
      EXPECT_EQ(given.narrow(1, begin, 1000).abs().max().item<float>(), 0) << kind;
      EXPECT_LE(relative_error(given, right), 1e-5) << kind;
    }
  }
}

class HeadLossOnGpuTest : public GpuTest, public testing::WithParamInterface<at::ScalarType> {};

TEST_P(HeadLossOnGpuTest, EqualsTheCpuInDouble) {
  const at::ScalarType dtype = GetParam();
  constexpr int64_t kTokens = 300, kWidth = 72, kVocab = 1111;
  at::manual_seed(5);
  const at::Tensor hidden = at::randn({kTokens, kWidth}, at::kDouble);          // (N, C)
  const at::Tensor head = at::randn({kVocab, kWidth}, at::kDouble) * 0.2;       // (V, C)
  const at::Tensor source = at::randn({kTokens, kWidth}, at::kDouble);          // (N, C)
  const at::Tensor of_source = at::randn({kVocab, kWidth}, at::kDouble) * 0.2;  // (V, C)
  at::Tensor labels = at::randint(kVocab, {kTokens}, at::kLong);                // (N)
  labels.index_put_({at::tensor({0, 5, 6, 299})}, at::tensor(kIgnoredLabel));
  const at::Tensor teacher = at::mm(source, of_source.t());  // (N, V)
  for (const Payload kind : {Payload::kFull, Payload::kHidden, Payload::kTopk, Payload::kSample}) {
    SoftTargets soft, there;
    if (kind == Payload::kHidden) {
      soft.kind = there.kind = kind;
      soft.values = source;
      soft.head = of_source;
      there.values = source.to(dtype).cuda();
      there.head = of_source.to(dtype).cuda();
    } else {
      soft = soft_targets_of(kind, teacher, 2.0);
      there = soft.to(at::kCUDA);
    }
    at::Tensor right = at::zeros_like(head), right_hidden;
    const LossSums expected =
        head_loss(hidden, head, right, labels, soft, {0.5, 2.0}, right_hidden);
    struct How {
      int64_t chunk;
      bool overwrites;
    };
    for (const auto [chunk, overwrites] :
         {How{0, false}, How{100, false}, How{100, true}, How{0, true}}) {
      if (kind == Payload::kFull) there = SoftTargets::of_logits(teacher.to(dtype).cuda());
      at::Tensor gradient = at::zeros({kVocab, kWidth}, at::kCUDA), of_hidden;
      const LossSums sums = head_loss(hidden.to(dtype).cuda(), head.to(dtype).cuda(), gradient,
                                      labels.cuda(), there, {0.5, 2.0}, of_hidden,
                                      {.chunk_tokens = chunk, .overwrite_teacher = overwrites});
      const double bound = dtype == at::kFloat ? 1e-5 : 1e-2;
      EXPECT_EQ(sums.tokens, expected.tokens);
      EXPECT_NEAR(sums.loss, expected.loss, bound * expected.loss) << payload_name(kind);
      EXPECT_LE(relative_error(gradient, right), bound) << payload_name(kind);
      EXPECT_LE(relative_error(of_hidden, right_hidden), bound) << payload_name(kind);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, HeadLossOnGpuTest, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& parameter) { return c10::toString(parameter.param); });

}  // namespace
}  // namespace temper
