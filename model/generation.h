// Goes on with a batch of prompts: greedy, by sampling, or by beam search. Works on token ids only;
// text, stop strings and the screen are the caller's.
#pragma once

#include <functional>
#include <vector>

#include "model/decoder.h"
#include "model/generation_config.h"
#include "model/logits_processors.h"

namespace temper {

enum class Finish {
  kLength,  ///< as many tokens as were asked for, or as the model has positions
  kEnd,     ///< the model's end-of-text token, which is the last token
  kStop,    ///< the caller stopped it
};

/// "length", "end" or "stop".
const char* finish_name(Finish finish);

struct Continuation {
  TokenIds tokens;  ///< new ones only
  Finish finish = Finish::kLength;
  double score = 0;  ///< beam search: the sum of log-probabilities over length^length_penalty
};

/// A batch of prompts and where they stand in the whole run.
struct PromptBatch {
  std::vector<TokenIds> prompts;  ///< each with at least one token
  uint64_t first = 0;             ///< the number of the first one, which keys its random draws
  uint64_t seed = 0;
};

/// Called for each new token in order of the steps: `text` counts prompts · num_return_sequences.
/// true: stop this text. Not called by beam search.
using OnToken = std::function<bool(size_t text, int64_t token)>;

/// For each prompt, num_return_sequences continuations one after another; with beams best first. A
/// prompt's continuations do not depend on the other prompts of the batch, but for the rounding of
/// matrix products of another height. Throws c10::ValueError where a prompt leaves no position free
/// or holds an id outside the vocabulary.
std::vector<Continuation> generate(const Decoder& decoder, const PromptBatch& batch,
                                   const Decoding& decoding, const OnToken& on_token = {});

/// Prompts as one tensor, padded on the left with token 0 -> (B, S) int64.
at::Tensor padded_prompts(const std::vector<TokenIds>& prompts, std::vector<int64_t>* padding);

/// Beam search as transformers' _beam_search (version 5.23): see beam_search.cpp.
std::vector<Continuation> beam_search(const Decoder& decoder, const PromptBatch& batch,
                                      const Decoding& decoding);

}  // namespace temper
