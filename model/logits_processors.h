// What is done to the logits of the next token before one is chosen, each step as transformers 5.23
// defines it (generation/logits_process.py), ties and edge cases included. The order is theirs too:
// repetition penalty, no-repeat n-grams, minimal lengths, then, with sampling only, temperature,
// top-k, top-p, min-p. Ours alone, and first: ids that only pad the vocabulary are never chosen.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/generation_config.h"

namespace temper {

/// A text so far, prompt included, padding not.
using TokenIds = std::vector<int64_t>;

// All change scores (R, V), float32 and contiguous, in place; `texts` has R entries.

/// The scores of all tokens that the text holds: divided by `penalty` where positive, multiplied
/// where negative (CTRL, arXiv 1909.05858).
void penalize_repetition(const at::Tensor& scores, const std::vector<TokenIds>& texts,
                         double penalty);

/// -inf for each token that would complete an n-gram which the text holds already.
void forbid_repeated_ngrams(const at::Tensor& scores, const std::vector<TokenIds>& texts,
                            int64_t size);

/// -inf for these tokens, in every row.
void forbid_tokens(const at::Tensor& scores, const std::vector<int64_t>& tokens);

/// -inf for the ids from `vocab` on.
void forbid_padding(const at::Tensor& scores, int64_t vocab);

void divide_by_temperature(const at::Tensor& scores, double temperature);

/// -inf for scores below the k-th largest; those equal to it stay.
void keep_top_k(const at::Tensor& scores, int64_t k);

/// Nucleus sampling (arXiv 1904.09751): -inf for the unlikeliest tokens whose probabilities add up
/// to no more than 1 - p. One token stays always.
void keep_top_p(const at::Tensor& scores, double p);

/// -inf for tokens whose probability is below p times that of the likeliest (arXiv 2407.01082).
void keep_min_p(const at::Tensor& scores, double p);

/// All that `decoding` asks for, in the order above. new_tokens: how many each text holds beyond
/// its prompt.
void process_logits(const at::Tensor& scores, const std::vector<TokenIds>& texts,
                    int64_t new_tokens, const Decoding& decoding);

/// Whether process_logits() would change anything.
bool processes_logits(const Decoding& decoding);

}  // namespace temper
