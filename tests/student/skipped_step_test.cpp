// A step with a NaN on one rank is a step that was never run: the same weights bit for bit, there
// and in the steps after it, on any number of ranks.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "data/data_config.h"
#include "student/training_step.h"
#include "tests/model/small_shape.h"

namespace temper::skipped_step_test {
namespace {

constexpr int64_t kBatch = 6, kBad = 3, kSteps = 7;

Transformer small_model(int64_t vocab) {
  Transformer model(small_shape(vocab, 16, 2, 16));
  model.init_weights(3);
  return model;
}

struct Trained {
  at::Tensor before, after, last;  // (P) weights around step kBad, and after the last
  StepResult skipped;              // of step kBad, if it was run
};

/// `poisoned`: the rank whose second micro-batch of step kBad is NaN; less than 0: the step is left
/// out.
Trained train(TrainConfig config, int poisoned) {
  const std::unique_ptr<Corpus> corpus = open_corpus(DataConfig{}, "", false);
  const std::unique_ptr<Collectives> collectives = make_mpi_collectives(Communicator::world());
  Transformer model = small_model(corpus->vocab());
  config.steps = kSteps;
  config.batch = kBatch;
  config.micro_batch = 1;
  config.seq = 16;
  config.warmup = 2;
  TrainingStep step(model, *corpus, config, LossConfig{}, at::kFloat, 5, *collectives, nullptr);
  int64_t micro_batch = 0;
  step.on_hidden = [&](int64_t number, const at::Tensor& hidden) {
    if (number != kBad || collectives->rank() != poisoned || ++micro_batch != 2) return;
    const at::NoGradGuard no_grad;
    at::Tensor values = hidden;  // (N, C)
    values.narrow(0, 3, 1).fill_(std::numeric_limits<double>::quiet_NaN());
  };
  Trained trained;
  for (int64_t number = 0; number < kSteps; ++number) {
    if (number == kBad) {
      step.settle();
      trained.before = model.flat_weights().clone();
      if (poisoned < 0) continue;
    }
    const StepResult result = step.run(number);
    EXPECT_EQ(result.skipped.empty(), number != kBad) << number;
    if (number != kBad) continue;
    trained.skipped = result;
    step.settle();
    trained.after = model.flat_weights().clone();
  }
  step.settle();
  trained.last = model.flat_weights().clone();
  return trained;
}

TEST(SkippedStepTest, IsAStepThatWasNeverRun) {
  const int ranks = Communicator::world().size();
  for (const bool sharded : {false, true}) {
    for (const double spike_factor : {0.0, 50.0}) {
      TrainConfig config;
      config.shard_optimizer = sharded;
      config.spike_factor = spike_factor;
      config.spike_window = 2;
      const Trained without = train(config, -1);
      for (int rank = 0; rank < ranks; ++rank) {
        const Trained with = train(config, rank);
        EXPECT_TRUE(at::equal(with.after, with.before));
        EXPECT_TRUE(at::equal(with.before, without.before));
        EXPECT_TRUE(at::equal(with.last, without.last)) << "rank " << rank;
        EXPECT_FALSE(at::equal(with.last, with.after));
        // 6 rows on 1, 2, 3 ranks: the second row of this rank's.
        const int64_t row = kBad * kBatch + rank * (kBatch / ranks) + 1;
        EXPECT_EQ(with.skipped.skipped_rows, std::vector<int64_t>{row});
      }
    }
  }
}

TEST(SkippedStepTest, ASpikeIsSkippedOnAllRanks) {
  TrainConfig config;
  config.steps = 6;
  config.batch = kBatch;
  config.micro_batch = 1;
  config.seq = 16;
  config.spike_factor = 1.5;
  config.spike_window = 3;
  const std::unique_ptr<Corpus> corpus = open_corpus(DataConfig{}, "", false);
  const std::unique_ptr<Collectives> collectives = make_mpi_collectives(Communicator::world());
  Transformer model = small_model(corpus->vocab());
  TrainingStep step(model, *corpus, config, LossConfig{}, at::kFloat, 5, *collectives, nullptr);
  const int ranks = collectives->size();
  step.on_hidden = [&](int64_t number, const at::Tensor& hidden) {
    if (number != 4 || collectives->rank() != ranks - 1) return;
    const at::NoGradGuard no_grad;
    at::Tensor values = hidden;  // (N, C)
    values.mul_(1000.0);
  };
  for (int64_t number = 0; number < 6; ++number) {
    const at::Tensor before = model.flat_weights().clone();  // (P)
    const StepResult result = step.run(number);
    EXPECT_EQ(!result.skipped.empty(), number == 4) << number << " " << result.loss;
    EXPECT_EQ(at::equal(model.flat_weights(), before), number == 4);
    if (number == 4) {
      EXPECT_EQ(result.skipped_rows.size(), static_cast<size_t>(kBatch / ranks));
      EXPECT_EQ(result.skipped_rows.back(), 4 * kBatch + kBatch - 1);
    }
  }
}

}  // namespace
}  // namespace temper::skipped_step_test
