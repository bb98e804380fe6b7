// Chooses the next token. A draw is a function of its key and the distribution alone: not of the
// other rows, the number of threads or the order in which rows are done.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace temper {

/// What a draw is keyed by: one seed, the prompt's number in the whole run, which of the prompt's
/// texts, and how many tokens the text holds beyond its prompt.
struct DrawKey {
  uint64_t seed = 0;
  uint64_t prompt = 0;
  uint64_t text = 0;
  uint64_t step = 0;
};

/// One token of each row of scores (R, V) float32, from softmax(scores): the inverse of the
/// cumulative distribution in double precision, at a point that the key gives. A score of -inf is
/// never drawn. Throws c10::Error where a row has no finite score or holds no number.
std::vector<int64_t> sample_tokens(const at::Tensor& scores, const std::vector<DrawKey>& keys);

/// The first of the largest scores of each row.
std::vector<int64_t> likeliest_tokens(const at::Tensor& scores);

}  // namespace temper
