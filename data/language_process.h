// The stochastic process behind the built-in language: a hidden Markov model whose next-token
// distribution is known exactly.
//
// The hidden state is a pair (topic z, class c). A topic lasts for dozens of tokens; within it the
// class walks along a sparse graph of the topic's own, and each class emits its own set of symbols.
// Half of the symbols change their class from topic to topic, and all change their frequency, so a
// token alone says little: who predicts well has gathered evidence for the topic over a long
// context. Some classes echo: they repeat, with a fixed probability, the token that was emitted
// `lag(z)` tokens before, a dependence that no short n-gram sees. The emission may depend on tokens
// already seen without making the forward recursion any less exact (an autoregressive hidden Markov
// model, Hamilton 1989).
//
// All tables are whole numbers, so that the same seed gives the same tokens on every machine.
#pragma once

#include <cstdint>
#include <vector>

#include "data/random.h"

namespace temper {

/// Sizes and probabilities of the process. The defaults are those of the built-in language.
struct LanguageShape {
  int64_t vocab = 256;   ///< V, token 0 (start of document) included
  int64_t topics = 4;    ///< Z
  int64_t classes = 16;  ///< K
  int64_t topic_length =
      48;  ///< mean number of tokens between two draws of the topic (uniform over all topics)
  int64_t stable_percent =
      75;  ///< of the symbols: the same class and much the same frequency in all topics
  int64_t echo_classes = 2;        ///< of the K classes
  int64_t echo_percent = 60;       ///< probability that an echo class repeats
  int64_t shortest_lag = 4;        ///< topic z repeats the token shortest_lag + z tokens back
  int64_t shortest_document = 24;  ///< tokens after the start token; lengths are uniform
  int64_t longest_document = 256;

  /// The default shape for a vocabulary of `vocab` tokens (16 to 65,536): fewer classes where there
  /// are few symbols.
  static LanguageShape for_vocab(int64_t vocab);
};

class LanguageProcess {
 public:
  /// The token that opens each document; the process itself never emits it.
  static constexpr int32_t kStart = 0;

  /// Draws the language number `seed`.
  LanguageProcess(const LanguageShape& shape, uint64_t seed);

  const LanguageShape& shape() const { return shape_; }
  int64_t states() const { return shape_.topics * shape_.classes; }

  /// Appends one document to `tokens`: the start token and then symbols in [1, V).
  void append_document(RandomStream& random, std::vector<int32_t>& tokens) const;

  /// p(next state | state); a state is z·K + c.
  double transition(int64_t state, int64_t next) const;

  /// p(token | state, the tokens of the document so far without its start token).
  double emission(int64_t state, int32_t token, const std::vector<int32_t>& document) const;

  /// p(symbol | state) without echo: (V, Z, K), row by row.
  const std::vector<double>& symbol_given() const { return symbol_given_; }

  /// A hash of all tables.
  uint64_t fingerprint() const;

 private:
  friend class LanguageFilter;

  void draw_classes(RandomStream& random);
  void draw_symbols(RandomStream& random);

  int64_t lag(int64_t topic) const { return shape_.shortest_lag + topic; }
  bool echoes(int64_t cls) const { return cls < shape_.echo_classes; }

  LanguageShape shape_;
  std::vector<uint32_t> class_sums_;   // (Z, K, K) running sums of the weights of the next class
  std::vector<uint32_t> symbol_sums_;  // (Z, K, V) running sums of the weights of the symbols
  std::vector<double> class_given_;    // (Z, K, K) p(next class | topic, class)
  std::vector<double> symbol_given_;   // (V, Z, K) p(symbol | topic, class), without echo
};

/// The exact forward recursion over one document at a time: p(next token | tokens so far), in
/// double precision. Costs O(Z·K²) per token, and O(V·Z·K) more for a whole distribution.
class LanguageFilter {
 public:
  explicit LanguageFilter(const LanguageProcess& process);

  /// A document starts: its start token has just been seen.
  void start();

  /// Probability that the next token has because a class repeats it.
  struct Echo {
    int32_t token;
    double mass;
  };

  /// p(. | document so far) as a mixture: Z·K weights of the rows of symbol_given() into `weights`,
  /// and what the echoes, at most one a topic, add to their tokens. Many positions are one matrix
  /// product then.
  std::vector<Echo> mixture(double* weights) const;

  /// p(. | document so far) into `out`, V values that sum to 1.
  void distribution(double* out) const;

  /// Takes the next symbol of the document and returns p(token | document so far). Throws
  /// c10::ValueError where it is 0.
  double observe(int32_t token);

 private:
  bool can_echo(int64_t topic) const;
  int32_t echoed(int64_t topic) const;
  void emissions(int32_t token, double* out) const;  // (Z, K) p(token | state, document)

  const LanguageProcess& process_;
  std::vector<int32_t> document_;
  std::vector<double> belief_;   // (Z, K) p(state of the next token | document so far)
  std::vector<double> scratch_;  // (Z, K)
};

}  // namespace temper
