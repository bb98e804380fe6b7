#include "data/language_process.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <numeric>

#include "data/fingerprint.h"

namespace temper {

namespace {

// Weights of the next class, in whole numbers: one successor that all topics share, so that a
// bigram already helps, two of the topic's own, and a little for every class.
constexpr uint32_t kSharedSuccessor = 24;
constexpr uint32_t kFirstSuccessor = 64;
constexpr uint32_t kSecondSuccessor = 24;
constexpr uint32_t kAnyClass = 1;

// Weights of the symbols of a class: Zipf's law with an offset, in whole numbers, and a little for
// every symbol, so that no conditional probability is zero.
constexpr uint32_t kZipfScale = 1 << 16;
constexpr uint32_t kZipfOffset = 2;
constexpr uint32_t kAnySymbolShare = 50;  // the symbols outside the class have 1/50 of its weight

std::vector<int64_t> random_order(int64_t count, RandomStream& random) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  shuffle(order, random);
  return order;
}

// Index drawn by running sums of weights.
int64_t draw(const uint32_t* sums, int64_t count, RandomStream& random) {
  const auto target = static_cast<uint32_t>(random.below(sums[count - 1]));
  return std::upper_bound(sums, sums + count, target) - sums;
}

}  // namespace

LanguageShape LanguageShape::for_vocab(int64_t vocab) {
  LanguageShape shape;
  shape.vocab = vocab;
  shape.classes = std::clamp<int64_t>((vocab - 1) / 3, 5, shape.classes);
  shape.echo_classes = std::max<int64_t>(1, shape.classes / 8);
  return shape;
}

LanguageProcess::LanguageProcess(const LanguageShape& shape, uint64_t seed) : shape_(shape) {
  TORCH_CHECK_VALUE(
      shape.vocab > shape.classes && shape.classes >= 2 && shape.topics >= 1 &&
          shape.topic_length >= 1 && shape.stable_percent >= 0 && shape.stable_percent <= 100 &&
          shape.echo_classes >= 0 && shape.echo_classes <= shape.classes &&
          shape.echo_percent >= 0 && shape.echo_percent <= 100 && shape.shortest_lag >= 1 &&
          shape.shortest_document >= 1 && shape.longest_document >= shape.shortest_document &&
          shape.vocab <= 65536,
      "the shape of the built-in language is not usable: it needs 2 <= classes < vocab <= 65536");
  RandomStream random{0x6c616e6775616765ULL, seed};  // "language"
  draw_classes(random);
  draw_symbols(random);
}

void LanguageProcess::draw_classes(RandomStream& random) {
  const int64_t topics = shape_.topics, classes = shape_.classes;
  class_sums_.resize(static_cast<size_t>(topics * classes * classes));
  class_given_.resize(class_sums_.size());
  // Successors are permutations, so every class is equally frequent in the long run.
  const std::vector<int64_t> shared = random_order(classes, random);
  for (int64_t z = 0; z < topics; ++z) {
    const std::vector<int64_t> first = random_order(classes, random),
                               second = random_order(classes, random);
    for (int64_t c = 0; c < classes; ++c) {
      std::vector<uint32_t> weight(static_cast<size_t>(classes), kAnyClass);
      weight[shared[c]] += kSharedSuccessor;
      weight[first[c]] += kFirstSuccessor;
      weight[second[c]] += kSecondSuccessor;
      uint32_t* sums = &class_sums_[(z * classes + c) * classes];
      std::partial_sum(weight.begin(), weight.end(), sums);
      for (int64_t next = 0; next < classes; ++next)
        class_given_[(z * classes + c) * classes + next] =
            static_cast<double>(weight[next]) / static_cast<double>(sums[classes - 1]);
    }
  }
}

void LanguageProcess::draw_symbols(RandomStream& random) {
  const int64_t vocab = shape_.vocab, topics = shape_.topics, classes = shape_.classes;
  symbol_sums_.resize(static_cast<size_t>(topics * classes * vocab));
  symbol_given_.resize(symbol_sums_.size());
  // Symbols in a random order are dealt out to the classes in turn; the first of them stay where
  // they are in all topics, the others move. Within a class the symbols are ordered by their
  // rarity.
  std::vector<int64_t> order = random_order(vocab - 1, random),
                       rarity = random_order(vocab - 1, random);
  const int64_t stable = (vocab - 1) * shape_.stable_percent / 100;
  for (int64_t z = 0; z < topics; ++z) {
    std::vector<int64_t> moving(order.begin() + stable, order.end());
    shuffle(moving, random);
    std::copy(moving.begin(), moving.end(), order.begin() + stable);
    std::vector<std::vector<int64_t>> members(static_cast<size_t>(classes));
    for (int64_t i = 0; i < vocab - 1; ++i) members[i % classes].push_back(order[i] + 1);
    for (int64_t c = 0; c < classes; ++c) {
      std::sort(members[c].begin(), members[c].end(),
                [&rarity](int64_t a, int64_t b) { return rarity[a - 1] < rarity[b - 1]; });
      std::vector<uint32_t> weight(static_cast<size_t>(vocab), 0);
      uint32_t total = 0;
      for (size_t rank = 0; rank < members[c].size(); ++rank)
        total += weight[members[c][rank]] =
            kZipfScale / (static_cast<uint32_t>(rank) + kZipfOffset);
      const uint32_t any =
          std::max<uint32_t>(1, total / kAnySymbolShare / static_cast<uint32_t>(vocab - 1));
      for (int64_t v = 1; v < vocab; ++v) weight[v] += any;
      uint32_t* sums = &symbol_sums_[(z * classes + c) * vocab];
      std::partial_sum(weight.begin(), weight.end(), sums);
      for (int64_t v = 0; v < vocab; ++v)
        symbol_given_[(v * topics + z) * classes + c] =
            static_cast<double>(weight[v]) / static_cast<double>(sums[vocab - 1]);
    }
  }
}

void LanguageProcess::append_document(RandomStream& random, std::vector<int32_t>& tokens) const {
  const auto uniform = [&random](int64_t count) {
    return static_cast<int64_t>(random.below(static_cast<uint64_t>(count)));
  };
  const int64_t length =
      shape_.shortest_document + uniform(shape_.longest_document - shape_.shortest_document + 1);
  tokens.push_back(kStart);
  const size_t begin = tokens.size();
  int64_t topic = uniform(shape_.topics), cls = uniform(shape_.classes);
  for (int64_t t = 0; t < length; ++t) {
    if (t > 0) {
      if (uniform(shape_.topic_length) == 0) topic = uniform(shape_.topics);
      cls = draw(&class_sums_[(topic * shape_.classes + cls) * shape_.classes], shape_.classes,
                 random);
    }
    const bool echo = echoes(cls) && t >= lag(topic) && uniform(100) < shape_.echo_percent;
    tokens.push_back(echo ? tokens[begin + static_cast<size_t>(t - lag(topic))]
                          : static_cast<int32_t>(
                                draw(&symbol_sums_[(topic * shape_.classes + cls) * shape_.vocab],
                                     shape_.vocab, random)));
  }
}

double LanguageProcess::transition(int64_t state, int64_t next) const {
  const int64_t topic = state / shape_.classes, next_topic = next / shape_.classes;
  const double switching = 1.0 / static_cast<double>(shape_.topic_length);
  const double to_topic = switching / static_cast<double>(shape_.topics) +
                          (topic == next_topic ? 1.0 - switching : 0.0);
  return to_topic *
         class_given_[(next_topic * shape_.classes + state % shape_.classes) * shape_.classes +
                      next % shape_.classes];
}

double LanguageProcess::emission(int64_t state, int32_t token,
                                 const std::vector<int32_t>& document) const {
  const int64_t topic = state / shape_.classes, back = lag(topic),
                length = static_cast<int64_t>(document.size());
  const double plain = symbol_given_[token * states() + state];
  if (!echoes(state % shape_.classes) || length < back) return plain;
  const double share = static_cast<double>(shape_.echo_percent) / 100.0;
  return (1.0 - share) * plain + (document[length - back] == token ? share : 0.0);
}

uint64_t LanguageProcess::fingerprint() const {
  Fingerprint hash;
  for (const int64_t number :
       {shape_.vocab, shape_.topics, shape_.classes, shape_.topic_length, shape_.stable_percent,
        shape_.echo_classes, shape_.echo_percent, shape_.shortest_lag, shape_.shortest_document,
        shape_.longest_document})
    hash.add(static_cast<uint64_t>(number));
  for (const uint32_t sum : class_sums_) hash.add(sum);
  for (const uint32_t sum : symbol_sums_) hash.add(sum);
  return hash.value();
}

LanguageFilter::LanguageFilter(const LanguageProcess& process)
    : process_(process), belief_(process.states()), scratch_(process.states()) {
  start();
}

void LanguageFilter::start() {
  document_.clear();
  std::fill(belief_.begin(), belief_.end(), 1.0 / static_cast<double>(process_.states()));
}

bool LanguageFilter::can_echo(int64_t topic) const {
  return static_cast<int64_t>(document_.size()) >= process_.lag(topic);
}

int32_t LanguageFilter::echoed(int64_t topic) const {
  return document_[document_.size() - static_cast<size_t>(process_.lag(topic))];
}

void LanguageFilter::emissions(int32_t token, double* out) const {
  const LanguageShape& shape = process_.shape_;
  const double share = static_cast<double>(shape.echo_percent) / 100.0;
  const double* plain = &process_.symbol_given_[token * process_.states()];
  for (int64_t z = 0; z < shape.topics; ++z) {
    double* row = out + z * shape.classes;
    std::copy_n(plain + z * shape.classes, shape.classes, row);
    if (!can_echo(z)) continue;
    const double repeat = echoed(z) == token ? share : 0.0;
    for (int64_t c = 0; c < shape.echo_classes; ++c) row[c] = (1.0 - share) * row[c] + repeat;
  }
}

std::vector<LanguageFilter::Echo> LanguageFilter::mixture(double* weights) const {
  const LanguageShape& shape = process_.shape_;
  const double share = static_cast<double>(shape.echo_percent) / 100.0;
  // The mass of the echo classes moves to the echoed tokens; what is left is a plain mixture.
  std::copy(belief_.begin(), belief_.end(), weights);
  std::vector<Echo> echoes;
  for (int64_t z = 0; z < shape.topics; ++z) {
    if (!can_echo(z)) continue;
    Echo echo{echoed(z), 0.0};
    for (int64_t c = 0; c < shape.echo_classes; ++c) {
      echo.mass += share * weights[z * shape.classes + c];
      weights[z * shape.classes + c] *= 1.0 - share;
    }
    echoes.push_back(echo);
  }
  return echoes;
}

void LanguageFilter::distribution(double* out) const {
  std::vector<double> weights(belief_.size());
  const std::vector<Echo> echoes = mixture(weights.data());
  const int64_t states = process_.states();
  for (int64_t v = 0; v < process_.shape_.vocab; ++v)
    out[v] = std::inner_product(weights.begin(), weights.end(), &process_.symbol_given_[v * states],
                                0.0);
  for (const Echo& echo : echoes) out[echo.token] += echo.mass;
}

double LanguageFilter::observe(int32_t token) {
  const LanguageShape& shape = process_.shape_;
  const int64_t topics = shape.topics, classes = shape.classes;
  // Condition on the token. (Z, K)
  emissions(token, scratch_.data());
  double total = 0;
  for (size_t s = 0; s < belief_.size(); ++s) total += scratch_[s] *= belief_[s];
  TORCH_CHECK_VALUE(total > 0, "token ", token,
                    " cannot occur in a document of the built-in language");
  // Perhaps a new topic.
  const double switching = 1.0 / static_cast<double>(shape.topic_length);
  for (int64_t c = 0; c < classes; ++c) {
    double sum = 0;
    for (int64_t z = 0; z < topics; ++z) sum += scratch_[z * classes + c];
    for (int64_t z = 0; z < topics; ++z) {
      double& value = scratch_[z * classes + c];
      value = ((1.0 - switching) * value + switching / static_cast<double>(topics) * sum) / total;
    }
  }
  // The next class, by the new topic's graph.
  std::fill(belief_.begin(), belief_.end(), 0.0);
  for (int64_t z = 0; z < topics; ++z) {
    double* next = &belief_[z * classes];
    for (int64_t c = 0; c < classes; ++c) {
      const double mass = scratch_[z * classes + c];
      const double* given = &process_.class_given_[(z * classes + c) * classes];
      for (int64_t k = 0; k < classes; ++k) next[k] += mass * given[k];
    }
  }
  document_.push_back(token);
  return total;
}

}  // namespace temper
