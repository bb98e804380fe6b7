#include "student/token_choice.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <boost/program_options/value_semantic.hpp>
#include <cmath>
#include <numeric>
#include <vector>

#include "data/corpus.h"
#include "model/logits_chunk.h"

namespace temper {

namespace po = boost::program_options;

void TokenChoiceConfig::add_options(po::options_description& options) {
  auto add = options.add_options();
  add("loss.tokens",
      po::value<std::string>(&by)->default_value(by)->value_name(
          "all|teacher-entropy|student-entropy"),
      "which tokens of a row count: all, or those where teacher (at teacher.temperature) or "
      "student "
      "(at T = 1) are least sure; for one product with an output head more");
  add("loss.token-share", po::value<double>(&share)->default_value(share)->value_name("X"),
      "with loss.tokens teacher-entropy or student-entropy: the share of a row's tokens that "
      "counts");
  add("loss.token-weighting",
      po::value<bool>(&weigh)->default_value(weigh)->value_name("true|false"),
      "with loss.tokens teacher-entropy or student-entropy: weigh the tokens that count by their "
      "entropy, 1 on average over a row");
}

void TokenChoiceConfig::validate() const {
  TORCH_CHECK_VALUE(by == "all" || by == "teacher-entropy" || by == "student-entropy",
                    "--loss.tokens is '", by, "': give all, teacher-entropy or student-entropy");
  TORCH_CHECK_VALUE(share > 0 && share <= 1, "--loss.token-share is ", share,
                    ": give a number above 0 and up to 1");
  TORCH_CHECK_VALUE(
      chooses() || (share == 1 && !weigh), share < 1 ? "--loss.token-share is " : "",
      share < 1 ? std::to_string(share) : std::string("--loss.token-weighting is true"),
      " with --loss.tokens all, where it has no effect: give --loss.tokens "
      "teacher-entropy or student-entropy");
}

ChosenTokens choose_tokens(const TokenChoiceConfig& config, const at::Tensor& labels, int64_t seq,
                           const at::Tensor& entropy) {
  const at::Tensor given = labels.cpu().contiguous(), heights = entropy.cpu().contiguous();  // (N)
  at::Tensor chosen = at::full_like(given, kIgnoredLabel);                                   // (N)
  at::Tensor weights = at::zeros_like(heights);                                              // (N)
  const int64_t* label = given.const_data_ptr<int64_t>();
  const double* height = heights.const_data_ptr<double>();
  auto* kept = chosen.mutable_data_ptr<int64_t>();
  auto* weight = weights.mutable_data_ptr<double>();
  std::vector<int64_t> order;
  for (int64_t row = 0; row < given.numel(); row += seq) {
    order.clear();
    for (int64_t i = row; i < row + seq; ++i)
      if (label[i] != kIgnoredLabel) order.push_back(i);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return height[a] > height[b]; });
    order.resize(static_cast<size_t>(std::ceil(config.share * static_cast<double>(order.size()))));
    double sum = 0;
    for (const int64_t i : order) sum += height[i];
    for (const int64_t i : order) {
      kept[i] = label[i];
      weight[i] = sum > 0 ? height[i] * static_cast<double>(order.size()) / sum : 1.0;
    }
  }
  ChosenTokens result;
  result.labels = chosen.to(labels.device());
  if (config.weigh) result.weights = weights.to(labels.device());
  return result;
}

namespace {

/// Of each row's softmax(logits / T): (n) float64.
at::Tensor entropy_of_logits(const at::Tensor& logits, double temperature) {
  const at::Tensor log_p = at::log_softmax(logits.to(at::kFloat) / temperature, 1);  // (n, V)
  const at::Tensor p = log_p.exp();                                                  // (n, V)
  return -at::where(p > 0, p * log_p, 0.0).sum(1, /*keepdim=*/false, at::kDouble);
}

}  // namespace

at::Tensor entropy_of(const at::Tensor& hidden, const at::Tensor& head, double temperature) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> parts;
  for (const at::Tensor& rows : hidden.split(logits_chunk(head.size(0))))
    parts.push_back(entropy_of_logits(at::mm(rows, head.t()), temperature));
  return at::cat(parts);
}

at::Tensor entropy_of(const SoftTargets& teacher, double temperature) {
  const at::NoGradGuard no_grad;
  switch (teacher.kind) {
    case Payload::kHidden:
      return entropy_of(teacher.values, teacher.head, temperature);
    case Payload::kFull: {
      std::vector<at::Tensor> parts;
      for (const at::Tensor& rows : teacher.values.split(logits_chunk(teacher.values.size(1))))
        parts.push_back(entropy_of_logits(rows, temperature));
      return at::cat(parts);
    }
    case Payload::kSample:
      return teacher.scalars.to(at::kDouble);
    case Payload::kTopk: {
      const at::Tensor log_q = at::cat(
          {teacher.values.to(at::kDouble), teacher.scalars.to(at::kDouble).unsqueeze(1)}, 1);
      const at::Tensor q = log_q.exp();  // (N, K + 1)
      return -at::where(q > 0, q * log_q, 0.0).sum(1);
    }
  }
  TORCH_INTERNAL_ASSERT(false);
}

}  // namespace temper
