// Products of small blocks in bfloat16 with sums in float32, for kernels that keep what they
// multiply in a core's cache: oneDNN's, as LibTorch reaches them. A tensor's product would round
// its result.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>

namespace temper {

/// Whether this build of LibTorch and this processor (AVX-512 with bfloat16) have them.
bool has_block_products();

/// c (m, n) float32, `ldc` from row to row, = or with `add` += a (m, k), `lda` from row to row,
/// times b (k, n), k even, packed in pairs of rows: (k/2, n, 2). On the calling thread.
void block_product(int64_t m, int64_t n, int64_t k, const c10::BFloat16* a, int64_t lda,
                   const c10::BFloat16* b, float* c, int64_t ldc, bool add);

/// The processor's matrix unit, where it has one, is given back. At the end of a thread's work.
void release_block_products();

}  // namespace temper
