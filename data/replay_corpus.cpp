#include "data/replay_corpus.h"

#include <ATen/ATen.h>

#include "data/random.h"
#include "data/token_stream.h"

namespace temper {

int64_t ReplayOrder::row(uint64_t seed, int64_t place) const {
  constexpr uint64_t kPurpose = 0x7265706c61797061;  // no other permutation has this key
  const int64_t pass = place / rows, at = place % rows;
  if (pass == 0 && seed == recorded_seed) return at;
  const uint64_t key = hash_key({kPurpose, seed, static_cast<uint64_t>(pass)});
  return static_cast<int64_t>(
      permuted(static_cast<uint64_t>(at), static_cast<uint64_t>(rows), key));
}

int64_t ReplayCorpus::rows(Part part, int64_t seq) const {
  return part == Part::kTrain ? order_.rows : base_.rows(part, seq);
}

Batch ReplayCorpus::read(Part part, uint64_t seed, int64_t first, int64_t count,
                         int64_t seq) const {
  if (part != Part::kTrain) return base_.read(part, seed, first, count, seq);
  Batch batch{at::empty({count, seq}, at::kLong),
              at::empty({count, seq}, at::kLong)};  // (B, S) twice
  for (int64_t done = 0; done < count;) {
    // Rows that follow each other in the recording are read at once.
    const int64_t row = order_.row(seed, first + done);
    int64_t run = 1;
    while (done + run < count && order_.row(seed, first + done + run) == row + run) ++run;
    const Batch some = base_.read(part, order_.recorded_seed, row, run, seq);
    batch.tokens.narrow(0, done, run).copy_(some.tokens);
    batch.labels.narrow(0, done, run).copy_(some.labels);
    done += run;
  }
  return batch;
}

}  // namespace temper
