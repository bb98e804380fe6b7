// The cached forward pass: the same logits as transformers and as the pass without a cache, however
// a text is cut, and whatever else is in the batch.
#include "model/decoder.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "model/generation.h"
#include "model/hugging_face.h"
#include "model/safetensors.h"

namespace temper {
namespace {

class DecoderTest : public testing::TestWithParam<const char*> {
 protected:
  DecoderTest()
      : folder_(std::string(TEMPER_SOURCE_DIR) + "/tests/model/golden/" + GetParam()),
        model_(load_model(folder_)) {}

  /// Logits of every position, the tokens given in pieces of these sizes.
  at::Tensor in_pieces(const at::Tensor& tokens, const std::vector<int64_t>& sizes,
                       at::ScalarType compute) const {
    const Decoder decoder(model_, compute);
    KvCache cache = decoder.make_cache(std::vector<int64_t>(static_cast<size_t>(tokens.size(0)), 0),
                                       /*capacity=*/3);
    std::vector<at::Tensor> states;
    int64_t at = 0;
    for (const int64_t size : sizes) {
      states.push_back(decoder.hidden(tokens.narrow(1, at, size).contiguous(), cache));
      at += size;
    }
    EXPECT_EQ(cache.length(), at);
    return at::linear(at::cat(states, 1), model_.head().to(compute)).to(at::kFloat);  // (B, S, V)
  }

  const std::string folder_;
  const Transformer model_;
};

TEST_P(DecoderTest, LogitsWithTheCacheAreThoseOfTransformers) {
  const at::NoGradGuard no_grad;
  const SafetensorsFile expected(folder_ + "/expected.safetensors");
  const at::Tensor tokens = expected.tensor("tokens"), logits = expected.tensor("logits");
  for (const int64_t length : {5, 17, 40}) {
    const at::Tensor part = tokens.narrow(1, 0, length);    // (B, S)
    const at::Tensor wanted = logits.narrow(1, 0, length);  // (B, S, V)
    std::vector<int64_t> sizes(static_cast<size_t>(length - 3), 1);
    sizes.insert(sizes.begin(), 3);
    const double difference =
        (in_pieces(part, sizes, at::kFloat) - wanted).abs().max().item<double>();
    RecordProperty("fp32_" + std::to_string(length), std::to_string(difference));
    EXPECT_LE(difference, 1e-4) << length;
    const at::Tensor rough = in_pieces(part, sizes, at::kBFloat16);
    const double share = ((rough - wanted).norm() / wanted.norm()).item<double>();
    RecordProperty("bf16_" + std::to_string(length), std::to_string(share));
    EXPECT_LE(share, 3e-2) << length;
  }
}

TEST_P(DecoderTest, PiecesOfAnySizeGiveTheSame) {
  const at::NoGradGuard no_grad;
  const at::Tensor tokens = at::randint(model_.config().vocab, {2, 24}, at::kLong);
  const at::Tensor whole =
      at::linear(model_.hidden(tokens, at::kFloat), model_.head());  // (B, S, V)
  for (const std::vector<int64_t>& sizes :
       {std::vector<int64_t>{24}, {1, 23}, {7, 1, 9, 1, 6}, {20, 4}}) {
    EXPECT_LE((in_pieces(tokens, sizes, at::kFloat) - whole).abs().max().item<double>(), 1e-5);
  }
  const at::Tensor exact = at::linear(model_.hidden(tokens, at::kDouble),
                                      model_.head().to(at::kDouble));  // (B, S, V)
  EXPECT_LE((in_pieces(tokens, {5, 1, 1, 17}, at::kDouble) - exact).abs().max().item<double>(),
            1e-6);
}

TEST_P(DecoderTest, PaddingChangesNothing) {
  const std::vector<TokenIds> prompts = {{5}, {9, 8, 7, 6, 5, 4, 3}, {1, 2, 3, 4}};
  const Decoder decoder(model_, at::kFloat);
  std::vector<int64_t> padding;
  const at::Tensor tokens = padded_prompts(prompts, &padding);  // (B, S)
  ASSERT_EQ(padding, (std::vector<int64_t>{6, 0, 3}));
  KvCache cache = decoder.make_cache(padding, 2);
  at::Tensor together = decoder.next_logits(tokens, cache);  // (B, V)
  const at::Tensor next = at::tensor({11, 12, 13}, at::kLong);
  const at::Tensor later = decoder.next_logits(next.unsqueeze(1), cache);  // (B, V)
  for (int64_t row = 0; row < 3; ++row) {
    KvCache own = decoder.make_cache({0}, 64);
    const at::Tensor prompt = at::tensor(prompts[static_cast<size_t>(row)], at::kLong);
    const at::Tensor alone = decoder.next_logits(prompt.unsqueeze(0), own);  // (1, V)
    EXPECT_LE((alone[0] - together[row]).abs().max().item<double>(), 1e-5) << row;
    const at::Tensor after = decoder.next_logits(next.narrow(0, row, 1).unsqueeze(1), own);
    EXPECT_LE((after[0] - later[row]).abs().max().item<double>(), 1e-5) << row;
  }
}

TEST_P(DecoderTest, RowsChangePlaces) {
  const at::Tensor tokens = at::tensor({1, 2, 3, 4, 1, 2, 9, 8}, at::kLong).view({2, 4});
  const Decoder decoder(model_, at::kFloat);
  KvCache cache = decoder.make_cache({0, 0}, 4);
  decoder.next_logits(tokens, cache);
  const at::Tensor next = at::tensor({20, 20}, at::kLong).unsqueeze(1);
  KvCache swapped = cache;
  swapped.select_rows(at::tensor({1, 0}, at::kLong), /*begin=*/2);  // the first two are equal
  KvCache fewer = swapped;
  fewer.select_rows(at::tensor({1}, at::kLong));
  const at::Tensor last = decoder.next_logits(next.narrow(0, 0, 1), fewer);
  const at::Tensor crossed = decoder.next_logits(next, swapped);
  KvCache first = decoder.make_cache({0, 0}, 4);
  decoder.next_logits(tokens, first);
  const at::Tensor straight = decoder.next_logits(next, first);
  EXPECT_LE((crossed[0] - straight[1]).abs().max().item<double>(), 1e-5);
  EXPECT_LE((crossed[1] - straight[0]).abs().max().item<double>(), 1e-5);
  EXPECT_LE((last[0] - straight[0]).abs().max().item<double>(), 1e-5);
  EXPECT_GT((straight[0] - straight[1]).abs().max().item<double>(), 1e-2);
}

TEST_P(DecoderTest, NoMoreThanThePositions) {
  const Decoder decoder(model_, at::kFloat);
  KvCache cache = decoder.make_cache({0}, 4);
  decoder.next_logits(at::ones({1, 40}, at::kLong), cache);
  EXPECT_THROW(decoder.next_logits(at::ones({1, 1}, at::kLong), cache), c10::ValueError);
  EXPECT_THROW(decoder.next_logits(at::ones({2, 1}, at::kLong), cache), c10::ValueError);
}

INSTANTIATE_TEST_SUITE_P(Families, DecoderTest,
                         testing::Values("gpt2", "llama", "llama_tied", "llama3", "mistral",
                                         "qwen2", "qwen3"));

}  // namespace
}  // namespace temper
