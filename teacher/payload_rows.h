// One row of a micro-batch's soft targets as a string of bytes, to be compressed and kept, and back
// into the place of any row of any micro-batch. Bytes of the same weight lie together (all first
// bytes, then all second bytes, ...): exponents of floating-point numbers resemble each other and
// mantissas do not, so that a compressor finds far more this way.
#pragma once

#include <cstdint>

#include "comm/payload.h"

namespace temper {

/// Writes row `row` of `view` (rows of `seq` tokens) to `out`, seq · bytes_per_token() bytes.
void take_row(const PayloadView& view, const PayloadSpec& spec, int64_t row, int64_t seq,
              unsigned char* out);

/// The way back: bit for bit what take_row() saw.
void put_row(const unsigned char* in, const PayloadView& view, const PayloadSpec& spec, int64_t row,
             int64_t seq);

}  // namespace temper
