// The seam to the kernel, which is compiled with AVX-512: nothing that other files share may be
// included here.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>

namespace temper {

/// Rows of one head: position p begins at data + p · stride.
template <typename T>
struct HeadRows {
  T* data = nullptr;
  int64_t stride = 0;
};

/// One head of one sequence.
struct AttentionHead {
  int64_t positions = 0;  // S
  int64_t width = 0;      // D, a multiple of 32
  float scale = 0;
  HeadRows<const c10::BFloat16> query, key, value;  // (S, D)
};

/// out (S, D) = softmax(scale · query keyᵀ, causal) value; logsumexp (S): of each position's
/// exponentials, or null.
void causal_attention_forward_avx512(const AttentionHead& head, HeadRows<c10::BFloat16> out,
                                     float* logsumexp);

/// The gradients by query, key and value, each (S, D), from that by out.
void causal_attention_backward_avx512(const AttentionHead& head, HeadRows<const c10::BFloat16> out,
                                      const float* logsumexp,
                                      HeadRows<const c10::BFloat16> out_gradient,
                                      HeadRows<c10::BFloat16> query_gradient,
                                      HeadRows<c10::BFloat16> key_gradient,
                                      HeadRows<c10::BFloat16> value_gradient);

}  // namespace temper
