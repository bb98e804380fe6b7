// The NLL around a fitted temperature: each point is that of log_softmax, however the tokens are
// shared out over ranks and chunks.
#include "student/nll_curve.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <cmath>

namespace temper {
namespace {

TEST(NllCurveTest, PointsAreThoseOfLogSoftmaxOnEveryShareOfTheTokens) {
  const Communicator world = Communicator::world();
  at::manual_seed(3);
  const int64_t tokens = 120, vocab = 5000;                        // pieces of 52 rows
  at::Tensor logits = at::randn({tokens, vocab}, at::kFloat) * 4;  // (N, V)
  logits.select(1, 7).fill_(-INFINITY);                            // an id that is ruled out
  const at::Tensor labels =
      std::get<1>(logits.sort(1)).select(1, vocab - 2);  // (N), none of them 7
  const double centre = 1.3;
  NllCurve curve(centre);
  for (int64_t begin = 0, chunk = 0; begin < tokens; begin += 60, ++chunk) {
    for (int64_t row = begin; row < begin + 60; row += 60 / world.size()) {
      if ((row - begin) / (60 / world.size()) != world.rank()) continue;
      curve.add(logits.narrow(0, row, 60 / world.size()), labels.narrow(0, row, 60 / world.size()));
    }
  }
  const std::vector<NllPoint> points = curve.finish(world);
  ASSERT_EQ(points.size(), NllCurve::kPoints);
  EXPECT_DOUBLE_EQ(points.front().temperature, centre / 4);
  EXPECT_DOUBLE_EQ(points[12].temperature, centre);
  EXPECT_DOUBLE_EQ(points.back().temperature, centre * 4);
  const at::Tensor exact = logits.to(at::kDouble);
  for (const NllPoint& point : points) {
    const double expected = -at::log_softmax(exact / point.temperature, 1)
                                 .gather(1, labels.unsqueeze(1))
                                 .mean()
                                 .item<double>();
    EXPECT_NEAR(point.nll, expected, 2e-6 * expected) << point.temperature;
  }
}

TEST(NllCurveTest, WithoutTokensThereIsNone) {
  EXPECT_THROW(NllCurve(1).finish(Communicator::world()), c10::ValueError);
}

}  // namespace
}  // namespace temper
