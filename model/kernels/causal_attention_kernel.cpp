// Note [Attention in blocks]
// ~~~~~~~~~~~~~~~~~~~~~~~~~~
// FlashAttention (Dao et al. 2022, arXiv 2205.14135) in blocks of 64 queries and 64 keys: scores
// and probabilities of a block exist only in a core's cache, blocks above the diagonal not at all.
// What is multiplied is bfloat16; scores, sums, maxima and the gradients by probabilities are
// float32.
//
// The backward pass works on transposed blocks, keys × queries: then the probabilities and their
// gradients are in order as the left factors of the products for value and key, a query's numbers
// (its logsumexp, its delta) lie along a vector, and only the query's gradient comes out
// transposed.
//
// Right factors are packed in pairs of rows, (k/2, n, 2), as block_product() takes them. A pair of
// columns of a row-major block is one 32-bit word, so the packed transpose of such a block is a
// transpose of words.
#include "model/kernels/causal_attention_kernel.h"

#include <ATen/cpu/vec/vec.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "model/block_product.h"
#include "model/kernels/array.h"
#include "model/kernels/bfloat16_pairs.h"

namespace temper {
namespace {

using c10::BFloat16;
using Vec = FloatVec;

constexpr int64_t kBlock = 64;
constexpr int64_t kLanes = Vec::size();
constexpr int64_t kVectors = kBlock / kLanes;  // of a row of a block
constexpr float kNone = -std::numeric_limits<float>::infinity();

using Buffer = Array<BFloat16>;
using Floats = Array<float>;

/// 32 numbers, rounded.
void store_rounded(const Vec& first, const Vec& second, BFloat16* to) {
  _mm512_storeu_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first)));
}

Vec widened(const BFloat16* from) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/// A block of rows, with zeros for those that are not there.
struct Rows {
  const BFloat16* data;
  int64_t stride;
};
Rows block_rows(const HeadRows<const BFloat16>& from, int64_t begin, int64_t count, int64_t width,
                Buffer& padded) {
  const BFloat16* first = from.data + begin * from.stride;
  if (count == kBlock) return {first, from.stride};
  padded.clear();
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(padded.data() + i * width, first + i * from.stride,
                static_cast<size_t>(width) * sizeof(BFloat16));
  }
  return {padded.data(), width};
}

/// The transpose of a block (64, D), packed: (D/2, 64, 2).
void pack_transposed(const Rows& rows, int64_t width, BFloat16* to) {
  at::vec::transpose_mxn<float>(reinterpret_cast<const float*>(rows.data), rows.stride / 2,
                                reinterpret_cast<float*>(to), kBlock, kBlock,
                                static_cast<int>(width / 2));
}

/// A block (64, D), packed: (32, D, 2).
void pack_rows(const Rows& rows, int64_t width, BFloat16* to) {
  for (int64_t row = 0; row < kBlock; row += 2, to += 2 * width) {
    const BFloat16* low = rows.data + row * rows.stride;
    pack_pair(low, low + rows.stride, width, to);
  }
}

/// A packed transpose (D/2, 64, 2) as rows (D, 64), `stride` apart.
void unpack_transposed(const BFloat16* packed, int64_t width, BFloat16* to, int64_t stride) {
  const auto* words = reinterpret_cast<const __m512i*>(packed);
  for (int64_t pair = 0; pair < width / 2; ++pair) {
    for (int64_t i = 0; i < kBlock; i += kLanes) {
      const __m512i word = _mm512_loadu_si512(words++);
      BFloat16* low = to + 2 * pair * stride + i;
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(low), _mm512_cvtepi32_epi16(word));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(low + stride),
                          _mm512_cvtepi32_epi16(_mm512_srli_epi32(word, 16)));
    }
  }
}

/// All of a head's blocks, packed by `pack` into (blocks, 64·D).
template <typename Pack>
Buffer packed_blocks(const HeadRows<const BFloat16>& from, const AttentionHead& head,
                     const Pack& pack) {
  const int64_t blocks = (head.positions + kBlock - 1) / kBlock, size = kBlock * head.width;
  Buffer result(blocks * size), padded(size);
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t begin = block * kBlock;
    const int64_t count = std::min(kBlock, head.positions - begin);
    pack(block_rows(from, begin, count, head.width, padded), head.width,
         result.data() + block * size);
  }
  return result;
}

/// Lanes [0, count) of a vector, count any number.
__mmask16 first_lanes(int64_t count) {
  return static_cast<__mmask16>(count >= kLanes ? 0xffff : count <= 0 ? 0 : (1 << count) - 1);
}

float sum_of(const Vec& values) { return _mm512_reduce_add_ps(values); }

/// What a query has seen of its softmax.
struct SoftmaxState {
  float max = kNone, sum = 0;
};

/// One query's scores (64) of a block, of which the first `valid` count: probabilities relative to
/// the largest so far (64), zeros behind. Returns the factor for what was summed up before.
float softmax(const float* scores, int64_t valid, float scale, SoftmaxState& state, BFloat16* to) {
  Vec x[kVectors];
  Vec max(kNone);
  for (int64_t v = 0; v < kVectors; ++v) {
    x[v] = _mm512_mask_mul_ps(Vec(kNone), first_lanes(valid - v * kLanes),
                              _mm512_loadu_ps(scores + v * kLanes), Vec(scale));
    max = at::vec::maximum(max, x[v]);
  }
  const float before = state.max;
  state.max = std::max(before, _mm512_reduce_max_ps(max));
  Vec sum(0.0f);
  for (int64_t v = 0; v < kVectors; ++v) {
    x[v] = _mm512_maskz_mov_ps(first_lanes(valid - v * kLanes), (x[v] - Vec(state.max)).exp_u20());
    sum = sum + x[v];
  }
  for (int64_t v = 0; v < kVectors; v += 2) store_rounded(x[v], x[v + 1], to + v * kLanes);
  const float factor = before == state.max ? 1.0f : std::exp(before - state.max);
  state.sum = state.sum * factor + sum_of(sum);
  return factor;
}

/// Rows (count, D) in float32, times `factor`, to bfloat16.
void store_rows(const float* from, int64_t count, int64_t width, float factor,
                const HeadRows<BFloat16>& to, int64_t begin) {
  for (int64_t row = 0; row < count; ++row, from += width) {
    BFloat16* out = to.data + (begin + row) * to.stride;
    for (int64_t i = 0; i < width; i += 2 * kLanes) {
      store_rounded(Vec::loadu(from + i) * Vec(factor), Vec::loadu(from + i + kLanes) * Vec(factor),
                    out + i);
    }
  }
}

}  // namespace

void causal_attention_forward_avx512(const AttentionHead& head, HeadRows<BFloat16> out,
                                     float* logsumexp) {
  const int64_t width = head.width, size = kBlock * width;
  const Buffer keys = packed_blocks(head.key, head, pack_transposed);
  const Buffer values = packed_blocks(head.value, head, pack_rows);
  Floats scores(kBlock * kBlock), sums(size);
  Buffer probabilities(kBlock * kBlock);
  for (int64_t begin = 0; begin < head.positions; begin += kBlock) {
    const int64_t count = std::min(kBlock, head.positions - begin);
    SoftmaxState states[kBlock];
    sums.clear();
    for (int64_t block = 0; block * kBlock <= begin; ++block) {
      block_product(count, kBlock, width, head.query.data + begin * head.query.stride,
                    head.query.stride, keys.data() + block * size, scores.data(), kBlock,
                    /*add=*/false);
      for (int64_t row = 0; row < count; ++row) {
        const int64_t valid = std::min(kBlock, begin + row + 1 - block * kBlock);
        const float factor = softmax(scores.data() + row * kBlock, valid, head.scale, states[row],
                                     probabilities.data() + row * kBlock);
        if (factor == 1.0f || block == 0) continue;
        float* sum = sums.data() + row * width;
        for (int64_t i = 0; i < width; i += kLanes)
          (Vec::loadu(sum + i) * Vec(factor)).store(sum + i);
      }
      block_product(count, width, kBlock, probabilities.data(), kBlock,
                    values.data() + block * size, sums.data(), width, /*add=*/true);
    }
    for (int64_t row = 0; row < count; ++row) {
      store_rows(sums.data() + row * width, 1, width, 1.0f / states[row].sum, out, begin + row);
      if (logsumexp != nullptr)
        logsumexp[begin + row] = states[row].max + std::log(states[row].sum);
    }
  }
}

namespace {

/// What the backward pass keeps of one block, keys × queries.
struct BackwardBlock {
  Floats scores{kBlock * kBlock}, probability_gradients{kBlock * kBlock};
  Buffer probabilities{kBlock * kBlock};
  Buffer score_gradients{kBlock * kBlock}, packed{kBlock * kBlock};

  /// From the scores and the gradients by the probabilities (probability_gradients) of `keys` keys:
  /// probabilities and gradients by the raw scores, these in rows and packed. On the diagonal, key
  /// j counts for the queries from j on.
  void softmax(int64_t keys, bool diagonal, float scale, const float* logsumexp,
               const float* delta) {
    packed.clear();
    for (int64_t key = 0; key < keys; key += 2) {
      Vec gradients[2][kVectors];
      for (int64_t odd = 0; odd < 2; ++odd) {
        const int64_t row = key + odd;
        if (row == keys) {
          for (Vec& gradient : gradients[1]) gradient = Vec(0.0f);
          break;
        }
        Vec probabilities_of[kVectors];
        for (int64_t v = 0; v < kVectors; ++v) {
          const int64_t at = row * kBlock + v * kLanes;
          const Vec log_of = Vec::loadu(logsumexp + v * kLanes);
          const auto counts = static_cast<__mmask16>(
              diagonal ? ~static_cast<unsigned>(first_lanes(row - v * kLanes)) : 0xffffU);
          probabilities_of[v] = _mm512_maskz_mov_ps(
              counts, (Vec::loadu(scores.data() + at) * Vec(scale) - log_of).exp_u20());
          gradients[odd][v] =
              probabilities_of[v] * Vec(scale) *
              (Vec::loadu(probability_gradients.data() + at) - Vec::loadu(delta + v * kLanes));
          gradients[odd][v] = _mm512_maskz_mov_ps(counts, gradients[odd][v]);
        }
        for (int64_t v = 0; v < kVectors; v += 2) {
          const int64_t at = row * kBlock + v * kLanes;
          store_rounded(probabilities_of[v], probabilities_of[v + 1], probabilities.data() + at);
          store_rounded(gradients[odd][v], gradients[odd][v + 1], score_gradients.data() + at);
        }
      }
      for (int64_t v = 0; v < kVectors; ++v)
        store_pair(gradients[0][v], gradients[1][v], packed.data() + key * kBlock + 2 * v * kLanes);
    }
  }
};

/// Σ out · gradient of each position (S).
void deltas_of(const AttentionHead& head, const HeadRows<const BFloat16>& out,
               const HeadRows<const BFloat16>& gradient, float* to) {
  for (int64_t position = 0; position < head.positions; ++position) {
    const BFloat16* a = out.data + position * out.stride;
    const BFloat16* b = gradient.data + position * gradient.stride;
    Vec sum(0.0f);
    for (int64_t i = 0; i < head.width; i += kLanes) sum = sum + widened(a + i) * widened(b + i);
    to[position] = sum_of(sum);
  }
}

}  // namespace

void causal_attention_backward_avx512(const AttentionHead& head, HeadRows<const BFloat16> out,
                                      const float* logsumexp, HeadRows<const BFloat16> out_gradient,
                                      HeadRows<BFloat16> query_gradient,
                                      HeadRows<BFloat16> key_gradient,
                                      HeadRows<BFloat16> value_gradient) {
  const int64_t width = head.width, size = kBlock * width;
  const int64_t padded = (head.positions + kBlock - 1) / kBlock * kBlock;
  const Buffer queries = packed_blocks(head.query, head, pack_rows);
  const Buffer queries_transposed = packed_blocks(head.query, head, pack_transposed);
  const Buffer outs = packed_blocks(out_gradient, head, pack_rows);
  const Buffer outs_transposed = packed_blocks(out_gradient, head, pack_transposed);
  const Buffer keys_packed = packed_blocks(head.key, head, pack_transposed);
  Buffer keys(width * padded);  // the transpose (D, padded)
  for (int64_t block = 0; block * kBlock < padded; ++block)
    unpack_transposed(keys_packed.data() + block * size, width, keys.data() + block * kBlock,
                      padded);
  Floats delta(padded), logs(padded);
  deltas_of(head, out, out_gradient, delta.data());
  std::memcpy(logs.data(), logsumexp, static_cast<size_t>(head.positions) * sizeof(float));
  // Queries that are not there have no share: exp(x - inf) = 0.
  for (int64_t i = head.positions; i < padded; ++i)
    logs[i] = std::numeric_limits<float>::infinity();

  Floats of_keys(padded * width), of_values(padded * width), of_query(size), transposed(size);
  BackwardBlock block;
  for (int64_t begin = 0; begin < head.positions; begin += kBlock) {
    const int64_t at = begin * width;
    for (int64_t first = 0; first <= begin; first += kBlock) {
      const int64_t count = std::min(kBlock, head.positions - first);
      block_product(count, kBlock, width, head.key.data + first * head.key.stride, head.key.stride,
                    queries_transposed.data() + at, block.scores.data(), kBlock, /*add=*/false);
      block_product(count, kBlock, width, head.value.data + first * head.value.stride,
                    head.value.stride, outs_transposed.data() + at,
                    block.probability_gradients.data(), kBlock,
                    /*add=*/false);
      block.softmax(count, first == begin, head.scale, logs.data() + begin, delta.data() + begin);
      block_product(count, width, kBlock, block.probabilities.data(), kBlock, outs.data() + at,
                    of_values.data() + first * width, width, /*add=*/true);
      block_product(count, width, kBlock, block.score_gradients.data(), kBlock, queries.data() + at,
                    of_keys.data() + first * width, width, /*add=*/true);
      block_product(width, kBlock, kBlock, keys.data() + first, padded, block.packed.data(),
                    of_query.data(), kBlock, /*add=*/first > 0);
    }
    at::vec::transpose_mxn<float>(of_query.data(), kBlock, transposed.data(), width,
                                  static_cast<int>(width), kBlock);
    store_rows(transposed.data(), std::min(kBlock, head.positions - begin), width, 1.0f,
               query_gradient, begin);
  }
  store_rows(of_keys.data(), head.positions, width, 1.0f, key_gradient, 0);
  store_rows(of_values.data(), head.positions, width, 1.0f, value_gradient, 0);
}

}  // namespace temper
