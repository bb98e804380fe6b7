// The forward pass against Hugging Face transformers: folders and logits that
// tests/peers/make_golden.py made.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "model/hugging_face.h"
#include "model/safetensors.h"

namespace temper {
namespace {

class GoldenTest : public testing::TestWithParam<const char*> {
 protected:
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string folder() const {
    return std::string(TEMPER_SOURCE_DIR) + "/tests/model/golden/" + GetParam();
  }
  const std::string dir_ = testing::TempDir() + "temper-golden-" + std::to_string(getpid());
};

TEST_P(GoldenTest, LogitsAreThoseOfTransformers) {
  const at::NoGradGuard no_grad;
  const Transformer model = load_model(folder());
  const SafetensorsFile expected(folder() + "/expected.safetensors");
  const at::Tensor tokens = expected.tensor("tokens"), logits = expected.tensor("logits");
  const at::Tensor ours = at::linear(model.hidden(tokens, at::kFloat), model.head());  // (B, S, V)
  const double difference = (ours - logits).abs().max().item<double>();
  RecordProperty("difference", std::to_string(difference));
  EXPECT_LE(difference, 1e-4);
  EXPECT_GT(logits.abs().max().item<double>(), 0.1);
  // In bf16, relative to the size of the logits.
  const at::Tensor rough =
      at::linear(model.hidden(tokens, at::kBFloat16), model.head().to(at::kBFloat16))
          .to(at::kFloat);  // (B, S, V)
  EXPECT_LE(((rough - logits).norm() / logits.norm()).item<double>(), 3e-2);
  // Every length gives the same as the beginning of a longer one.
  for (const int64_t length : {1, 7, 40}) {
    const at::Tensor part = at::linear(
        model.hidden(tokens.narrow(1, 0, length).contiguous(), at::kFloat), model.head());
    EXPECT_LE((part - logits.narrow(1, 0, length)).abs().max().item<double>(), 1e-4) << length;
  }
}

TEST_P(GoldenTest, SurvivesTheWayThroughAFolderOfOurs) {
  const Transformer model = load_model(folder());
  save_model(model, dir_, 1.25);
  const Transformer again = load_model(dir_);
  EXPECT_TRUE(at::equal(model.flat_weights(), again.flat_weights()));
  EXPECT_EQ(again.config().parameter_count(), model.config().parameter_count());
  const SafetensorsFile theirs(folder() + "/model.safetensors"), ours(dir_ + "/model.safetensors");
  EXPECT_EQ(ours.names(), theirs.names());
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenTest,
                         testing::Values("gpt2", "llama", "llama_tied", "llama3", "mistral",
                                         "qwen2", "qwen3"));

}  // namespace
}  // namespace temper
