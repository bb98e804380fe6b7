// Training on what the student writes itself. Teacher forcing shows a model only the corpus's
// prefixes; when it writes, it goes on from its own (exposure bias). Two ways to meet that:
//
//   scheduled sampling   some of the input's tokens are replaced with draws of the student's own
//                        prediction for their place; labels stay the corpus's. For transformers in
//                        two passes: one over the corpus's tokens for the draws, one over the
//                        mixture to learn (Bengio et al. 2015, arXiv 1506.03099; Mihaylova and
//                        Martins 2019, arXiv 1906.07651)
//   on-policy            a share of the steps is written by the student: it goes on from the
//   beginning
//                        of each row, and learns the teacher's distribution over its own text (GKD,
//                        Agarwal et al. 2024, arXiv 2306.13649). There are no hard labels then
#pragma once

#include <boost/program_options/options_description.hpp>
#include <cstdint>

#include "data/corpus.h"
#include "data/data_config.h"
#include "model/decoder.h"
#include "model/generation_config.h"
#include "model/transformer.h"

namespace temper {

struct FreeRunningConfig {
  double scheduled_sampling = 0;  ///< probability at the last step; grows linearly from 0
  double on_policy = 0;           ///< λ: share of the steps
  int64_t prompt = 0;             ///< tokens of a row that stay the corpus's; 0: a quarter
  bool completion_only = false;   ///< labels within the prompt do not count
  bool has_teacher = true;        ///< false: on_policy is not known here, but may be in its file
  double temperature = 1;         ///< of the student's writing; 0: the likeliest token each time

  /// Declares `train.scheduled-sampling`, `train.prompt`, `train.completion-only`, and with a
  /// teacher `train.on-policy` and `train.writing-temperature`.
  void add_options(boost::program_options::options_description& options, bool with_teacher);
  /// Throws c10::ValueError naming the option. `seq`: tokens of a row.
  void validate(int64_t seq) const;

  /// Refuses labels that count by their place in a row where rows begin anywhere. Throws likewise.
  void check_rows(const DataConfig& data) const;

  bool any() const { return scheduled_sampling > 0 || on_policy > 0; }
  /// Whether the student writes the rows of this step; the same on all ranks, teachers included.
  bool writes(int64_t step, uint64_t seed) const;
  /// The probability that a token of this step's input is a draw.
  double mixes(int64_t step, int64_t steps) const;
  /// Whether the input of this step is not the corpus's.
  bool rewrites(int64_t step, int64_t steps, uint64_t seed) const {
    return writes(step, seed) || mixes(step, steps) > 0;
  }
  int64_t prompt_tokens(int64_t seq) const;
};

/// Where a micro-batch stands; draws are keyed by it, so that they depend neither on the number of
/// ranks nor on the micro-batches. And what may be drawn.
struct DrawPlace {
  uint64_t seed = 0;
  int64_t step = 0;
  int64_t first_row = 0;  ///< within the global batch
  int64_t vocab = 0;      ///< only ids below it (a model's rows beyond pad); 0: all of the model's
};

/// The rows `given` (B, S) with all tokens behind the prompt drawn by `model`, in `compute`.
/// Labels: the next token of the same text, ignored within the prompt and at the end.
Batch write_rows(const Transformer& model, at::ScalarType compute, const FreeRunningConfig& config,
                 const Batch& given, const DrawPlace& place);
/// The same in any way of decoding, from the first `prompt` tokens of each row.
Batch write_rows(const Decoder& decoder, Decoding decoding, int64_t prompt, const Batch& given,
                 const DrawPlace& place);

/// The rows `given` (B, S) where each token but the first is, with `probability`, a draw of the
/// model's prediction for it. Labels as given.
Batch mix_rows(const Transformer& model, at::ScalarType compute, double probability,
               const Batch& given, const DrawPlace& place);

}  // namespace temper
