// The forward recursion against a sum over every path of hidden states, and against what the
// process really emits.
#include "data/language_process.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>

namespace temper {
namespace {

LanguageShape tiny() {
  LanguageShape shape;
  shape.vocab = 7;
  shape.topics = 2;
  shape.classes = 3;
  shape.topic_length = 5;
  shape.echo_classes = 1;
  shape.shortest_lag = 1;
  shape.shortest_document = 8;
  shape.longest_document = 8;
  return shape;
}

/// Σ over all state paths of p(path) Π p(token | state, tokens before): the definition, S^n terms.
double brute_force(const LanguageProcess& process, const std::vector<int32_t>& document) {
  const int64_t states = process.states();
  double total = 0;
  std::vector<int64_t> path(document.size(), 0);
  while (true) {
    double p = 1.0 / static_cast<double>(states);
    for (size_t t = 0; t < document.size(); ++t) {
      if (t > 0) p *= process.transition(path[t - 1], path[t]);
      p *= process.emission(path[t], document[t],
                            {document.begin(), document.begin() + static_cast<long>(t)});
    }
    total += p;
    size_t digit = 0;
    while (digit < path.size() && ++path[digit] == states) path[digit++] = 0;
    if (digit == path.size()) return total;
  }
}

TEST(LanguageProcessTest, ForwardRecursionEqualsTheSumOverAllPaths) {
  const LanguageProcess process(tiny(), 5);
  for (const std::vector<int32_t>& document :
       {std::vector<int32_t>{1, 1, 2, 1, 6}, {3, 4, 3, 4, 3}, {2, 5, 6, 1, 4}}) {
    LanguageFilter filter(process);
    double product = 1;
    for (const int32_t token : document) product *= filter.observe(token);
    EXPECT_NEAR(product / brute_force(process, document), 1.0, 1e-12);
  }
}

TEST(LanguageProcessTest, DistributionSumsToOneAndAgreesWithObserve) {
  const LanguageProcess process(LanguageShape::for_vocab(64), 3);
  RandomStream random{1};
  std::vector<int32_t> tokens;
  process.append_document(random, tokens);
  LanguageFilter filter(process);
  std::vector<double> p(64);
  for (size_t t = 1; t < tokens.size(); ++t) {
    filter.distribution(p.data());
    EXPECT_NEAR(std::accumulate(p.begin(), p.end(), 0.0), 1.0, 1e-12);
    EXPECT_EQ(p[0], 0.0);  // the start token never comes out of the process
    const double said = p[static_cast<size_t>(tokens[t])];
    EXPECT_NEAR(filter.observe(tokens[t]), said, 1e-15);
  }
}

TEST(LanguageProcessTest, EmitsWhatTheFilterSays) {
  // How often each continuation follows one fixed beginning, against the filter: a χ² test with 5
  // degrees of freedom or fewer.
  const LanguageProcess process(tiny(), 5);
  std::map<int32_t, double> seen;
  double count = 0;
  for (uint64_t i = 0; i < 200000; ++i) {
    RandomStream random{77, i};
    std::vector<int32_t> tokens;
    process.append_document(random, tokens);
    if (tokens[1] != 2 || tokens[2] != 3) continue;
    ++seen[tokens[3]];
    ++count;
  }
  ASSERT_GT(count, 500);
  LanguageFilter filter(process);
  filter.observe(2);
  filter.observe(3);
  std::vector<double> p(7);
  filter.distribution(p.data());
  double chi2 = 0;
  for (int32_t v = 1; v < 7; ++v) {
    const double expected = p[static_cast<size_t>(v)] * count;
    chi2 += (seen[v] - expected) * (seen[v] - expected) / expected;
  }
  EXPECT_LT(chi2, 20.5);  // 0.1 % point for 5 degrees of freedom
}

TEST(LanguageProcessTest, SeedsGiveDifferentLanguages) {
  EXPECT_EQ(LanguageProcess(tiny(), 5).fingerprint(), LanguageProcess(tiny(), 5).fingerprint());
  EXPECT_NE(LanguageProcess(tiny(), 5).fingerprint(), LanguageProcess(tiny(), 6).fingerprint());
}

}  // namespace
}  // namespace temper
