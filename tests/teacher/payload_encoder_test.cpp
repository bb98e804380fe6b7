// What teachers send: packing, the tail's mass, and draws whose expectation is the distribution.
#include "teacher/payload_encoder.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "student/loss.h"

namespace temper {
namespace {

PayloadSpec spec_of(Payload kind, int64_t vocab, int64_t entries) {
  PayloadSpec spec;
  spec.kind = kind;
  spec.vocab = vocab;
  spec.entries = entries;
  spec.dtype = at::kFloat;
  return spec;
}

SoftTargets encoded(const at::Tensor& logits, const PayloadSpec& spec, double temperature,
                    const std::vector<double>& uniform) {
  const int64_t n = logits.size(0);
  const at::Tensor bytes = at::empty({n * spec.bytes_per_token()}, at::kByte);
  const PayloadView view(bytes, spec, n);
  encode_payload(logits, spec, temperature, uniform, 0, view);
  return soft_targets(view, spec, {});
}

TEST(PayloadTest, IdsTakeAsManyBitsAsTheVocabularyNeeds) {
  at::manual_seed(1);
  for (const auto& [vocab, bits] : std::vector<std::pair<int64_t, int64_t>>{
           {2, 1}, {256, 8}, {257, 9}, {50257, 16}, {65537, 17}, {151936, 18}}) {
    for (const int64_t entries : {1, 3, 12, 64}) {
      const PayloadSpec spec = spec_of(Payload::kSample, vocab, entries);
      EXPECT_EQ(spec.id_bits(), bits);
      EXPECT_EQ(spec.id_bytes_per_token(), (bits * entries + 7) / 8);
      at::Tensor ids = at::randint(vocab, {7, entries}, at::kLong);
      ids[0][0] = vocab - 1;
      const at::Tensor packed = at::full({7, spec.id_bytes_per_token()}, 255, at::kByte);
      pack_ids(ids, spec, packed);
      EXPECT_TRUE(unpack_ids(packed, spec).equal(ids)) << vocab << " " << entries;
    }
  }
  // The architecture's example: 12 draws of 151,936 ids.
  EXPECT_EQ(spec_of(Payload::kSample, 151936, 12).bytes_per_token(), 4 + 27);
  const PayloadSpec odd = spec_of(Payload::kSample, 100, 2);
  EXPECT_THROW(unpack_ids(at::full({1, 2}, 255, at::kByte), odd), c10::Error);
}

TEST(PayloadTest, TheTailsMassIsExact) {
  at::manual_seed(2);
  const at::Tensor logits = at::randn({5, 1000}) * 3;
  const SoftTargets soft = encoded(logits, spec_of(Payload::kTopk, 1000, 8), 2.0, {});
  const at::Tensor q = at::softmax(logits.to(at::kDouble) / 2.0, 1);
  const at::Tensor tail = 1 - q.gather(1, soft.ids).sum(1);  // (N)
  EXPECT_LE((soft.scalars.exp() / tail - 1).abs().max().item<double>(), 1e-5);
  EXPECT_TRUE(at::allclose(soft.values.exp().to(at::kDouble), q.gather(1, soft.ids), 1e-5, 1e-9));
  EXPECT_TRUE(std::get<1>(at::topk(logits, 8, 1)).equal(soft.ids));
}

TEST(PayloadTest, DrawsOfATokenDependOnItsPlaceAlone) {
  const std::vector<double> together = draw_uniform(7, 3, 10, 4, 5);
  const std::vector<double> apart = draw_uniform(7, 3, 12, 2, 5);
  EXPECT_EQ(std::vector<double>(together.begin() + 10, together.end()), apart);
  EXPECT_NE(draw_uniform(7, 4, 12, 2, 5), apart);
  EXPECT_NE(draw_uniform(8, 3, 12, 2, 5), apart);
  for (const double u : together) EXPECT_TRUE(u >= 0 && u < 1);
}

// The mean of the gradient over 4,096 seeds lies within 3 standard errors of the exact one, and
// the mean of the estimated KL too.
TEST(PayloadTest, TheSampledGradientIsExactInExpectation) {
  at::manual_seed(3);
  constexpr int64_t kTokens = 4, kVocab = 50, kSeeds = 4096;
  const at::Tensor teacher = at::randn({kTokens, kVocab}) * 2;
  const at::Tensor student = at::randn({kTokens, kVocab}, at::kDouble);
  const at::Tensor labels = at::randint(kVocab, {kTokens}, at::kLong);
  const PayloadSpec spec = spec_of(Payload::kSample, kVocab, 12);
  for (const double temperature : {1.0, 4.0}) {
    const LossConfig config{1.0, temperature};
    at::Tensor exact = student.clone();
    const LossSums exact_sums =
        distillation_loss_(exact, SoftTargets::of_logits(teacher.to(at::kDouble)), labels, config);
    at::Tensor sum = at::zeros_like(student), squares = at::zeros_like(student);
    double kl = 0, kl_squares = 0;
    for (int64_t seed = 0; seed < kSeeds; ++seed) {
      const SoftTargets soft = encoded(teacher, spec, temperature,
                                       draw_uniform(static_cast<uint64_t>(seed), 0, 0, 1, kTokens));
      at::Tensor gradient = student.clone();
      const LossSums sums = distillation_loss_(gradient, soft, labels, config);
      sum += gradient;
      squares += gradient.square();
      kl += sums.kl;
      kl_squares += sums.kl * sums.kl;
    }
    const at::Tensor mean = sum / kSeeds;
    const at::Tensor error = ((squares / kSeeds - mean.square()).clamp_min(0) / kSeeds).sqrt();
    // 200 values: some lie beyond three standard errors by chance (0.3 % of them); together they
    // must not.
    const at::Tensor deviations = (mean - exact) / error.clamp_min(1e-9);
    EXPECT_LE((deviations.abs() > 3).sum().item<int64_t>(), 4) << temperature;
    EXPECT_LE((mean - exact).norm().item<double>(), 3 * error.norm().item<double>()) << temperature;
    const double kl_mean = kl / kSeeds;
    const double kl_error = std::sqrt((kl_squares / kSeeds - kl_mean * kl_mean) / kSeeds);
    EXPECT_NEAR(kl_mean, exact_sums.kl, 3 * kl_error + 1e-5) << temperature;
  }
}

// Each id is drawn floor(n·q) or ceil(n·q) times: what systematic sampling has over independent
// draws.
TEST(PayloadTest, DrawsAreSpreadEvenly) {
  at::manual_seed(4);
  const at::Tensor logits = at::randn({6, 40}) * 2;
  const SoftTargets soft =
      encoded(logits, spec_of(Payload::kSample, 40, 16), 1.0, draw_uniform(1, 0, 0, 6, 1));
  const at::Tensor counts = at::zeros({6, 40}).scatter_add_(1, soft.ids, at::ones({6, 16}));
  const at::Tensor expected = at::softmax(logits, 1) * 16;
  EXPECT_LT((counts - expected).abs().max().item<double>(), 1.0 + 1e-4);
}

}  // namespace
}  // namespace temper
