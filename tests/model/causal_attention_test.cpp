// Attention in blocks against LibTorch's in float64, values and gradients.
#include "model/causal_attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "model/block_product.h"

namespace temper {
namespace {

struct Case {
  int64_t sequences, heads, positions, width;
};

std::ostream& operator<<(std::ostream& out, const Case& shape) {
  return out << shape.sequences << " x " << shape.heads << " x " << shape.positions << " x "
             << shape.width;
}

// Views as a fused QKV product gives them: (B, S, 3, H, D).
std::vector<at::Tensor> parts_of(const at::Tensor& qkv) {
  std::vector<at::Tensor> parts = qkv.unbind(2);
  for (at::Tensor& part : parts) part = part.transpose(1, 2);  // (B, H, S, D)
  return parts;
}

at::Tensor by_libtorch(const std::vector<at::Tensor>& parts) {
  return at::scaled_dot_product_attention(parts[0], parts[1], parts[2], std::nullopt, 0.0,
                                          /*is_causal=*/true);
}

double error_of(const at::Tensor& value, const at::Tensor& exact) {
  return ((value.to(at::kDouble) - exact).norm() / exact.norm()).item<double>();
}

class CausalAttentionTest : public testing::TestWithParam<Case> {};

TEST_P(CausalAttentionTest, IsNoFurtherOffThanLibTorchs) {
  if (!has_block_products()) GTEST_SKIP() << "this processor does not multiply bfloat16";
  const Case& shape = GetParam();
  at::manual_seed(3);
  // Scores up to about 20, so that some softmaxes are nearly one-hot.
  const at::Tensor drawn =
      (at::randn({shape.sequences, shape.positions, 3, shape.heads, shape.width}) * 1.5)
          .to(at::kBFloat16);
  const at::Tensor by_out =
      at::randn({shape.sequences, shape.heads, shape.positions, shape.width}).to(at::kBFloat16);
  const auto run = [&](at::ScalarType type, const auto& attend) {
    const at::Tensor qkv = drawn.to(type, /*non_blocking=*/false, /*copy=*/true).requires_grad_();
    const at::Tensor out = attend(parts_of(qkv));
    out.backward(by_out.to(type));
    return std::pair{out.detach(), qkv.grad()};
  };
  const auto ours = [](const std::vector<at::Tensor>& parts) {
    return causal_attention(parts[0], parts[1], parts[2]);
  };
  const auto [exact, exact_gradient] = run(at::kDouble, by_libtorch);
  const auto [value, gradient] = run(at::kBFloat16, ours);
  const auto [theirs, their_gradient] = run(at::kBFloat16, by_libtorch);
  EXPECT_LE(error_of(value, exact), 1.2 * error_of(theirs, exact));
  EXPECT_LE(error_of(value, exact), 5e-3);
  EXPECT_LE(error_of(gradient, exact_gradient), 1.2 * error_of(their_gradient, exact_gradient));
  EXPECT_LE(error_of(gradient, exact_gradient), 1e-2);
  // Row by row: a block that was left out would be lost in the norm of all.
  for (int64_t position = 0; position < shape.positions; ++position) {
    EXPECT_LE(error_of(value.select(2, position), exact.select(2, position)), 2e-2) << position;
    EXPECT_LE(error_of(gradient.select(1, position), exact_gradient.select(1, position)), 5e-2)
        << position;
  }
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(ours(parts_of(drawn)).equal(value));  // without the log-sums
}

INSTANTIATE_TEST_SUITE_P(Shapes, CausalAttentionTest,
                         testing::Values(Case{1, 1, 1, 32}, Case{2, 3, 63, 64}, Case{1, 2, 64, 32},
                                         Case{2, 1, 65, 64}, Case{1, 2, 129, 128},
                                         Case{3, 2, 200, 96}, Case{1, 1, 320, 64}));

TEST(CausalAttentionTest, IsLibTorchsWhereBlocksDoNotServe) {
  at::manual_seed(4);
  for (const auto& [type, width] :
       {std::pair{at::kFloat, int64_t{64}}, {at::kBFloat16, int64_t{40}}}) {
    const std::vector<at::Tensor> parts = parts_of(at::randn({1, 9, 3, 2, width}).to(type));
    EXPECT_TRUE(causal_attention(parts[0], parts[1], parts[2]).equal(by_libtorch(parts)));
  }
}

TEST(CausalAttentionTest, KeepsNumbersThatAreNone) {
  if (!has_block_products()) GTEST_SKIP() << "this processor does not multiply bfloat16";
  at::manual_seed(5);
  const at::Tensor qkv = at::randn({1, 70, 3, 1, 64}).to(at::kBFloat16);
  qkv[0][66][2][0][5] = std::numeric_limits<float>::quiet_NaN();  // of a value
  const std::vector<at::Tensor> parts = parts_of(qkv);
  const at::Tensor out = causal_attention(parts[0], parts[1], parts[2]);  // (1, 1, 70, 64)
  EXPECT_TRUE(out.narrow(2, 0, 64).isfinite().all().item<bool>());
  EXPECT_TRUE(out.narrow(2, 66, 4).select(3, 5).isnan().all().item<bool>());
}

}  // namespace
}  // namespace temper
