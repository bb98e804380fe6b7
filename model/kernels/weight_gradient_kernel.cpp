// Note [Gradients of weights]
// ~~~~~~~~~~~~~~~~~~~~~~~~~~~
// 64 rows of the gradient at a time: their columns of the output's gradient are transposed into a
// core's cache and multiplied with the packed input, and the sum goes straight to the gradient in
// float32. A tensor's product would round it to bfloat16, write it, and need another pass to add.
// The input is packed in blocks of columns, so that a block and its part of the gradient stay in
// the cache, too.
#include "model/kernels/weight_gradient_kernel.h"

#include <ATen/cpu/vec/vec.h>

#include "model/block_product.h"
#include "model/kernels/array.h"
#include "model/kernels/bfloat16_pairs.h"

namespace temper {
namespace {

constexpr int64_t kRows = 64;      // of the gradient
constexpr int64_t kColumns = 512;  // of the gradient
constexpr int64_t kTokens = 256;   // of one product
constexpr int64_t kTile = 32;      // of a transpose

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

}  // namespace

// Laid out as (column blocks, pairs, columns of the block, 2).
void pack_input_avx512(const c10::BFloat16* rows, int64_t stride, const PackedInput& to,
                       int64_t begin, int64_t end) {
  for (int64_t pair = begin; pair < end; ++pair) {
    const c10::BFloat16* low = rows + 2 * pair * stride;
    const c10::BFloat16* high = 2 * pair + 1 < to.tokens ? low + stride : nullptr;
    for (int64_t column = 0; column < to.width; column += kColumns) {
      const int64_t columns = least(kColumns, to.width - column);
      pack_pair(low + column, high == nullptr ? nullptr : high + column, columns,
                to.data + (column * to.pairs() + pair * columns) * 2);
    }
  }
}

void add_weight_gradient_avx512(const c10::BFloat16* output, int64_t stride,
                                const PackedInput& input, float* gradient, int64_t begin,
                                int64_t end) {
  const int64_t padded = 2 * input.pairs();
  Array<c10::BFloat16> transposed(kRows * padded);  // (rows, N) and a zero where N is odd
  for (int64_t row = begin; row < end; row += kRows) {
    const int64_t rows = least(kRows, end - row);
    for (int64_t token = 0; token < input.tokens; token += kTile) {
      for (int64_t i = 0; i < rows; i += kTile) {
        at::vec::transpose_mxn<c10::BFloat16>(output + token * stride + row + i, stride,
                                              transposed.data() + i * padded + token, padded,
                                              static_cast<int>(least(kTile, input.tokens - token)),
                                              static_cast<int>(least(kTile, rows - i)));
      }
    }
    for (int64_t column = 0; column < input.width; column += kColumns) {
      const int64_t columns = least(kColumns, input.width - column);
      const c10::BFloat16* packed = input.data + column * input.pairs() * 2;
      for (int64_t token = 0; token < padded; token += kTokens) {
        block_product(rows, columns, least(kTokens, padded - token), transposed.data() + token,
                      padded, packed + token * columns, gradient + row * input.width + column,
                      input.width,
                      /*add=*/true);
      }
    }
  }
}

}  // namespace temper
