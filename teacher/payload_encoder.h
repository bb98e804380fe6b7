// From a teacher's logits to what travels: the likeliest ids, or draws, of the tempered
// distribution.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "comm/payload.h"

namespace temper {

/// Writes the soft targets of n tokens into rows [begin, begin + n) of a message.
///
/// logits (n, V), any floating dtype; q = softmax(logits / temperature) in float32. full: the
/// logits as they are. topk: the K largest log q, their ids, and the exact log of the mass that
/// they leave. sample: n draws from q by systematic sampling (one uniform number u a token, draws
/// at the quantiles (u + i)/n: each id's expected count is n·q, with less variance than independent
/// draws have; Kitagawa 1996), and the entropy of q. `uniform` (n) in [0, 1), for sample only.
void encode_payload(const at::Tensor& logits, const PayloadSpec& spec, double temperature,
                    const std::vector<double>& uniform, int64_t begin, const PayloadView& out);

/// Uniform numbers in [0, 1) for the positions of a sequence, the same wherever and with whatever
/// others it is computed: a function of (seed, step, row of the global batch) alone.
std::vector<double> draw_uniform(uint64_t seed, int64_t step, int64_t first_row, int64_t rows,
                                 int64_t seq);

}  // namespace temper
