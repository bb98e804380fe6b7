// How good a model is when it runs free: it goes on from the beginnings of held-out rows, and a
// teacher judges what it wrote.
#pragma once

#include <optional>

#include "comm/mpi/communicator.h"
#include "model/transformer.h"
#include "student/evaluation.h"
#include "student/free_running.h"

namespace temper {

struct WritingQuality {
  int64_t rows = 0, tokens = 0;       ///< written
  double nll = 0;                     ///< of the written tokens, by the model itself at T = 1, nats
  std::optional<double> teacher_nll;  ///< by the teacher: low where the text is as it would write
  double corpus_nll = 0;              ///< by the model, of the corpus's own tokens at these places
  std::optional<double> teacher_corpus_nll;  ///< by the teacher: what the text could reach
  double repeated = 0;  ///< share of 4-grams that stood in the same text before (Holtzman et al.
                        ///< 2020, arXiv 1904.09751, measure repetition so)
};

/// The first `rows` rows of the part, shared out over the ranks; prompt and temperature are those
/// of `config`. The text does not depend on the number of ranks. Collective.
WritingQuality judge_writing(const Transformer& model, const Transformer* teacher,
                             const HeldOut& data, const FreeRunningConfig& config, int64_t rows,
                             uint64_t seed, at::ScalarType compute, const Communicator& comm);

/// Of one text: how many of its n-grams stood in it before, and how many it has.
struct Repeats {
  int64_t repeated = 0, all = 0;
};
Repeats repeated_ngrams(const int64_t* ids, int64_t count, int64_t n);

}  // namespace temper
