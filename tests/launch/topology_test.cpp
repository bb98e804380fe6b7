// The same job on every layout: ranks, teachers, accumulation. The built-in language's rows have
// uneven numbers of valid tokens (document starts are not predicted), so a gradient that were
// averaged by rank or micro-batch would show.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <regex>

#include "data/corpus.h"
#include "data/data_config.h"
#include "model/hugging_face.h"
#include "model/safetensors.h"
#include "tests/launch/launcher.h"

namespace temper {
namespace {

struct Layout {
  std::string name;
  int ranks = 0;  // 0: without mpirun
  int teachers = 0;
  int micro_batch = 0;
};

constexpr int kBatch = 12;

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> all = {
      {"colocated 1", 0, 0, 0},
      {"colocated 2", 2, 0, 0},
      {"colocated 4", 4, 0, 0},
      {"1 teacher + 1 student", 2, 1, 0},
      {"1 teacher + 2 students", 3, 1, 0},
      {"1 teacher + 3 students", 4, 1, 0},
      {"2 teachers + 2 students", 4, 2, 0},
      // Accumulation of 2 and 4 micro-batches a rank.
      {"colocated 1, accumulation 2", 0, 0, 6},
      {"colocated 1, accumulation 4", 0, 0, 3},
      {"1 teacher + 2 students, accumulation 2", 3, 1, 3},
      {"2 teachers + 2 students, accumulation 4", 4, 2, 2},
  };
  return all;
}

struct Trained {
  std::vector<double> losses;
  at::Tensor gradient, weights;  // all parameters one after another, float64
};

at::Tensor flat(const std::string& path) {
  const SafetensorsFile file(path);
  std::vector<at::Tensor> parts;
  for (const std::string& name : file.names())
    parts.push_back(file.tensor(name).to(at::kDouble).reshape(-1));
  return at::cat(parts);
}

Trained train(const Layout& layout, const std::string& optimizer, const std::string& dir,
              const std::string& payload = "full",
              const std::vector<std::string>& loss = {"--loss.alpha", "0.7"}) {
  const std::string gradient = dir + "-gradient.safetensors";
  std::vector<std::string> arguments = {"distill",
                                        "--run.dir",
                                        dir,
                                        "--launch.teachers",
                                        std::to_string(layout.teachers),
                                        "--debug.dump-gradient",
                                        gradient,
                                        "--teacher.layers",
                                        "2",
                                        "--teacher.width",
                                        "48",
                                        "--teacher.heads",
                                        "4",
                                        "--student.layers",
                                        "2",
                                        "--student.width",
                                        "32",
                                        "--student.heads",
                                        "4",
                                        "--train.steps",
                                        "20",
                                        "--train.batch",
                                        std::to_string(kBatch),
                                        "--train.seq",
                                        "64",
                                        "--train.micro-batch",
                                        std::to_string(layout.micro_batch),
                                        "--train.optimizer",
                                        optimizer,
                                        "--train.warmup",
                                        "4",
                                        "--train.clip",
                                        "1",
                                        "--evaluate.max-tokens",
                                        "256",
                                        "--run.threads",
                                        "1",
                                        "--teacher.payload",
                                        payload};
  for (const char* more : {"--train.lr", optimizer == "sgd" ? "0.1" : "0.001"})
    arguments.emplace_back(more);
  arguments.insert(arguments.end(), loss.begin(), loss.end());
  const Outcome outcome = launch(arguments, layout.ranks);
  EXPECT_EQ(outcome.code, 0) << layout.name << "\n" << outcome.err;
  if (outcome.code != 0) return {};
  return {metric(dir + "/metrics.jsonl", "loss"), flat(gradient),
          flat(dir + "/student/model.safetensors")};
}

double relative(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

double largest_relative(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (size_t i = 0; i < b.size(); ++i)
    largest = std::max(largest, std::abs(a[i] - b[i]) / std::abs(b[i]));
  return largest;
}

TEST(TopologyTest, RowsHaveUnevenNumbersOfValidTokens) {
  const std::unique_ptr<Corpus> corpus = open_corpus(DataConfig{}, "", false);
  const at::Tensor valid =
      (corpus->read(Part::kTrain, 1, 0, kBatch, 64).labels != kIgnoredLabel).sum(1);  // (B)
  EXPECT_LT(valid.min().item<int64_t>(), valid.max().item<int64_t>());
}

TEST(TopologyTest, EveryLayoutGivesTheSameRun) {
  const ScratchDir scratch;
  const Trained sgd = train(layouts()[0], "sgd", scratch / "sgd-0"),
                adam = train(layouts()[0], "adamw", scratch / "adamw-0");
  ASSERT_EQ(sgd.losses.size(), 20u);
  ASSERT_EQ(adam.losses.size(), 20u);
  EXPECT_LT(adam.losses.back(), adam.losses.front());
  for (size_t i = 1; i < layouts().size(); ++i) {
    const Layout& layout = layouts()[i];
    const Trained other_sgd = train(layout, "sgd", scratch / ("sgd-" + std::to_string(i)));
    const Trained other_adam = train(layout, "adamw", scratch / ("adamw-" + std::to_string(i)));
    ASSERT_EQ(other_sgd.losses.size(), 20u) << layout.name;
    ASSERT_EQ(other_adam.losses.size(), 20u) << layout.name;
    const double gradient = relative(other_sgd.gradient, sgd.gradient);
    const double curve = largest_relative(other_adam.losses, adam.losses);
    const double weights = relative(other_sgd.weights, sgd.weights);
    std::printf("  %-42s first gradient %.1e, AdamW loss curve %.1e, SGD weights %.1e\n",
                layout.name.c_str(), gradient, curve, weights);
    EXPECT_LE(gradient, 1e-5) << layout.name;
    EXPECT_LE(curve, 1e-4) << layout.name;
    EXPECT_LE(weights, 1e-5) << layout.name;
  }
}

TEST(TopologyTest, EveryPayloadGivesTheSameRunOnEveryLayout) {
  const ScratchDir scratch;
  const std::vector<Layout> layouts_of_payload = {{"1 x 1", 2, 1, 0},
                                                  {"1 x 3", 4, 1, 2},
                                                  {"2 x 2", 4, 2, 3},
                                                  {"3 x 1", 4, 3, 4},
                                                  {"2 x 3", 5, 2, 2}};
  const Trained full = train(layouts()[0], "adamw", scratch / "full");
  for (const std::string payload : {"hidden", "topk", "sample"}) {
    const Trained alone = train(layouts()[0], "adamw", scratch / payload, payload);
    ASSERT_EQ(alone.losses.size(), 20u) << payload;
    if (payload == "hidden") {
      EXPECT_LE(largest_relative(alone.losses, full.losses), 1e-6);
    }
    for (size_t i = 0; i < layouts_of_payload.size(); ++i) {
      const Layout& layout = layouts_of_payload[i];
      const Trained other =
          train(layout, "adamw", scratch / (payload + std::to_string(i)), payload);
      ASSERT_EQ(other.losses.size(), 20u) << payload << " " << layout.name;
      const double curve = largest_relative(other.losses, alone.losses);
      std::printf("  %-8s %-8s AdamW loss curve %.1e\n", payload.c_str(), layout.name.c_str(),
                  curve);
      EXPECT_LE(curve, 1e-4) << payload << " " << layout.name;
    }
  }
}

// Teacher and student find alpha and T of a step each on its own; teachers take micro-batches of
// several steps into one forward pass.
TEST(TopologyTest, ScheduledLossesAreTheSameOnEveryLayout) {
  const ScratchDir scratch;
  const std::vector<std::string> loss = {"--loss.alpha", "0:0.9,50%:0.9,100%:0.1",
                                         "--teacher.temperature", "cosine 0:4,15:1"};
  for (const std::string payload : {"full", "topk"}) {
    const std::string dir = scratch / payload;
    const Trained alone = train(layouts()[0], "adamw", dir, payload, loss);
    ASSERT_EQ(alone.losses.size(), 20u) << payload;
    const std::vector<double> alpha = metric(dir + "/metrics.jsonl", "alpha"),
                              temperature = metric(dir + "/metrics.jsonl", "temperature"),
                              kl = metric(dir + "/metrics.jsonl", "kl"),
                              ce = metric(dir + "/metrics.jsonl", "ce");
    ASSERT_EQ(alpha.size(), 20u);
    ASSERT_EQ(temperature.size(), 20u);
    for (size_t step = 0; step < 20; ++step) {
      const auto s = static_cast<double>(step);
      EXPECT_NEAR(alpha[step], s <= 9.5 ? 0.9 : 0.9 - 0.8 * (s - 9.5) / 9.5, 1e-12);
      const double way = std::min(1.0, s / 15);
      EXPECT_NEAR(temperature[step], 4 - 1.5 * (1 - std::cos(M_PI * way)), 1e-12);
      const double t = temperature[step];
      EXPECT_NEAR(alone.losses[step], alpha[step] * t * t * kl[step] + (1 - alpha[step]) * ce[step],
                  1e-9);
    }
    std::vector<std::string> ahead = loss;
    ahead.insert(ahead.end(), {"--teacher.batch", "12", "--teacher.lookahead", "6"});
    for (const auto& [layout, options] :
         {std::pair(layouts()[4], loss), std::pair(layouts()[9], ahead)}) {
      const std::string own = dir + std::to_string(layout.micro_batch);
      const Trained other = train(layout, "adamw", own, payload, options);
      ASSERT_EQ(other.losses.size(), 20u) << payload << " " << layout.name;
      const double curve = largest_relative(other.losses, alone.losses);
      std::printf("  %-8s %-42s AdamW loss curve %.1e\n", payload.c_str(), layout.name.c_str(),
                  curve);
      EXPECT_LE(curve, 1e-4) << payload << " " << layout.name;
      EXPECT_EQ(metric(own + "/metrics.jsonl", "alpha"), alpha);
      EXPECT_EQ(metric(own + "/metrics.jsonl", "temperature"), temperature);
    }
  }
  // A schedule that never changes is the plain number, to the last bit, and no news.
  const Trained plain = train(layouts()[0], "adamw", scratch / "plain");
  const Trained level =
      train(layouts()[0], "adamw", scratch / "level", "full",
            {"--loss.alpha", "0:0.7,100%:0.7", "--teacher.temperature", "step 0:2,50%:2"});
  EXPECT_EQ(level.losses, plain.losses);
  EXPECT_TRUE(at::equal(level.weights, plain.weights));
  EXPECT_EQ(read_text(scratch / "level/metrics.jsonl").find("temperature"), std::string::npos);
  EXPECT_EQ(read_text(scratch / "level/metrics.jsonl").find("alpha"), std::string::npos);
}

TEST(TopologyTest, TheSameLayoutTwiceIsTheSameBitForBit) {
  for (const Layout& layout : {layouts()[1], layouts()[8], layouts()[6], layouts()[5]}) {
    const ScratchDir scratch;
    const Trained one = train(layout, "adamw", scratch / "a"),
                  two = train(layout, "adamw", scratch / "b");
    ASSERT_EQ(one.losses.size(), 20u);
    EXPECT_EQ(one.losses, two.losses) << layout.name;
    EXPECT_TRUE(at::equal(one.gradient, two.gradient)) << layout.name;
    EXPECT_TRUE(at::equal(one.weights, two.weights)) << layout.name;
  }
}

// ZeRO-1 changes where the optimizer's state is, and no bit of the weights.
TEST(TopologyTest, ShardedOptimizerGivesTheSameBits) {
  const ScratchDir scratch;
  const auto weights = [&](const std::string& name, int ranks, int teachers, const char* sharded) {
    const std::string dir = scratch / name;
    const Outcome outcome = launch({"distill",
                                    "--run.dir",
                                    dir,
                                    "--launch.teachers",
                                    std::to_string(teachers),
                                    "--teacher.layers",
                                    "1",
                                    "--teacher.width",
                                    "32",
                                    "--student.layers",
                                    "2",
                                    "--student.width",
                                    "32",
                                    "--student.heads",
                                    "2",
                                    "--train.steps",
                                    "50",
                                    "--train.batch",
                                    "6",
                                    "--train.micro-batch",
                                    "1",
                                    "--train.seq",
                                    "16",
                                    "--train.shard-optimizer",
                                    sharded,
                                    "--train.checkpoint-every",
                                    "20",
                                    "--evaluate.max-tokens",
                                    "128",
                                    "--run.threads",
                                    "1"},
                                   ranks);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return std::pair(flat(dir + "/student/model.safetensors"),
                     load_model(dir + "/checkpoints/step-00000040").flat_weights());
  };
  for (const auto& [ranks, teachers] : {std::pair(2, 0), {3, 0}, {3, 1}}) {
    const std::string name = std::to_string(ranks) + std::to_string(teachers);
    const auto [whole, whole_before] = weights("whole" + name, ranks, teachers, "false");
    const auto [cut, cut_before] = weights("cut" + name, ranks, teachers, "true");
    EXPECT_TRUE(at::equal(cut, whole)) << name;
    EXPECT_TRUE(at::equal(cut_before, whole_before)) << name;
    EXPECT_FALSE(at::equal(cut, cut_before)) << name;
  }
}

// What a layer's backward pass computes again is what its forward pass had.
TEST(TopologyTest, ActivationCheckpointingGivesTheSameBits) {
  const Layout& layout = layouts()[9];
  for (const std::string precision : {"fp32", "bf16"}) {
    const ScratchDir scratch;
    const std::vector<std::string> kept = {"--loss.alpha", "0.7", "--run.precision", precision};
    std::vector<std::string> again = kept;
    again.insert(again.end(), {"--train.activation-checkpointing", "true"});
    const Trained one = train(layout, "adamw", scratch / "kept", "full", kept),
                  two = train(layout, "adamw", scratch / "again", "full", again);
    ASSERT_EQ(one.losses.size(), 20u) << precision;
    ASSERT_EQ(two.losses.size(), 20u) << precision;
    EXPECT_EQ(two.losses, one.losses) << precision;
    EXPECT_TRUE(at::equal(two.gradient, one.gradient)) << precision;
    EXPECT_TRUE(at::equal(two.weights, one.weights)) << precision;
  }
}

TEST(TopologyTest, TeacherWeightsAreKeptAsAskedFor) {
  const ScratchDir scratch;
  const auto planned_mib = [&](const std::string& weights, const std::string& precision) {
    const Outcome outcome = launch({"distill", "--dry-run", "--run.dir", scratch / "plan",
                                    "--teacher.weights", weights, "--run.precision", precision});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    std::smatch found;
    const bool there =
        std::regex_search(outcome.out, found, std::regex("teacher ([0-9.]+) MiB \\+ student"));
    EXPECT_TRUE(there) << outcome.out;
    return there ? std::stod(found[1].str()) : 0.0;
  };
  // Texts of one decimal.
  const double whole = planned_mib("fp32", "fp32"), half = planned_mib("bf16", "fp32");
  EXPECT_GT(half, 1);
  EXPECT_NEAR(whole, 2 * half, 0.2);
  EXPECT_EQ(planned_mib("auto", "fp32"), whole);
  EXPECT_EQ(planned_mib("auto", "bf16"), half);
  EXPECT_EQ(planned_mib("fp32", "bf16"), whole);

  const auto losses = [&](const std::string& weights) {
    return train(layouts()[3], "adamw", scratch / weights, "full",
                 {"--loss.alpha", "0.7", "--teacher.weights", weights})
        .losses;
  };
  const std::vector<double> fp32 = losses("fp32"), bf16 = losses("bf16");
  ASSERT_EQ(fp32.size(), 20u);
  ASSERT_EQ(bf16.size(), 20u);
  EXPECT_EQ(losses("auto"), fp32);
  EXPECT_NE(bf16, fp32);  // another teacher, by rounding
  EXPECT_LE(largest_relative(bf16, fp32), 1e-2);
}

}  // namespace
}  // namespace temper
