#include "model/causal_attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "model/block_product.h"
#include "model/kernels/causal_attention_kernel.h"

namespace temper {
namespace {

#if defined(TEMPER_KERNELS_AVX512_BF16)

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// As the kernel reads rows: a position's numbers side by side, pairs of them aligned.
at::Tensor with_rows(const at::Tensor& tensor) {
  const bool fits = tensor.stride(3) == 1 && tensor.stride(2) % 2 == 0 &&
                    tensor.storage_offset() % 2 == 0 && tensor.stride(0) % 2 == 0 &&
                    tensor.stride(1) % 2 == 0;
  return fits ? tensor : tensor.contiguous();
}

/// An empty result (B, H, S, D) that lies as (B, S, H, D): the next product takes rows of all
/// heads.
at::Tensor empty_rows(const at::Tensor& like) {
  return at::empty({like.size(0), like.size(2), like.size(1), like.size(3)}, like.options())
      .transpose(1, 2);
}

template <typename T>
HeadRows<T> rows_of(const at::Tensor& tensor, int64_t sequence, int64_t head) {
  return {static_cast<c10::BFloat16*>(tensor.data_ptr()) + sequence * tensor.stride(0) +
              head * tensor.stride(1),
          tensor.stride(2)};
}

/// Where a head's numbers in (B, H, S) float32 begin; null of an undefined tensor.
float* positions_of(const at::Tensor& tensor, int64_t sequence, int64_t head) {
  if (!tensor.defined()) return nullptr;
  return static_cast<float*>(tensor.data_ptr()) +
         (sequence * tensor.size(1) + head) * tensor.size(2);
}

/// use(sequence, head, what the kernel needs of them) for all heads, on all threads.
template <typename Use>
void for_each_head(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                   const Use& use) {
  const int64_t heads = query.size(1), width = query.size(3);
  at::parallel_for(0, query.size(0) * heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      AttentionHead head;
      head.positions = query.size(2);
      head.width = width;
      head.scale = 1.0f / std::sqrt(static_cast<float>(width));
      head.query = rows_of<const c10::BFloat16>(query, i / heads, i % heads);
      head.key = rows_of<const c10::BFloat16>(key, i / heads, i % heads);
      head.value = rows_of<const c10::BFloat16>(value, i / heads, i % heads);
      use(i / heads, i % heads, head);
    }
    release_block_products();
  });
}

/// logsumexp (B, H, S) float32, or undefined.
at::Tensor forward(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                   const at::Tensor& logsumexp) {
  const at::Tensor out = empty_rows(query);  // (B, H, S, D)
  for_each_head(
      query, key, value, [&](int64_t sequence, int64_t number, const AttentionHead& head) {
        causal_attention_forward_avx512(head, rows_of<c10::BFloat16>(out, sequence, number),
                                        positions_of(logsumexp, sequence, number));
      });
  return out;
}

struct CausalAttention : torch::autograd::Function<CausalAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& query,
                            const at::Tensor& key, const at::Tensor& value) {
    const at::Tensor logsumexp = at::empty({query.size(0), query.size(1), query.size(2)},
                                           query.options().dtype(at::kFloat));  // (B, H, S)
    at::Tensor out = temper::forward(query, key, value, logsumexp);             // (B, H, S, D)
    context->save_for_backward({query, key, value, out, logsumexp});
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &query = saved[0], &out = saved[3], &logsumexp = saved[4];
    const at::Tensor by_out = with_rows(gradients[0]);  // (B, H, S, D)
    variable_list result;                               // 3 x (B, H, S, D)
    for (int i = 0; i < 3; ++i) result.push_back(empty_rows(query));
    for_each_head(query, saved[1], saved[2],
                  [&](int64_t sequence, int64_t number, const AttentionHead& head) {
                    const auto of = [&](const at::Tensor& tensor) {
                      return rows_of<c10::BFloat16>(tensor, sequence, number);
                    };
                    causal_attention_backward_avx512(
                        head, rows_of<const c10::BFloat16>(out, sequence, number),
                        positions_of(logsumexp, sequence, number),
                        rows_of<const c10::BFloat16>(by_out, sequence, number), of(result[0]),
                        of(result[1]), of(result[2]));
                  });
    return result;
  }
};

bool by_blocks(const at::Tensor& query) {
  return query.is_cpu() && query.scalar_type() == at::kBFloat16 && query.size(3) % 32 == 0 &&
         has_block_products();
}

#endif

}  // namespace

at::Tensor causal_attention(const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value) {
#if defined(TEMPER_KERNELS_AVX512_BF16)
  if (by_blocks(query)) {
    const at::Tensor q = with_rows(query), k = with_rows(key), v = with_rows(value);
    const bool learns =
        at::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
    return learns ? CausalAttention::apply(q, k, v) : forward(q, k, v, {});  // (B, H, S, D)
  }
#endif
  return at::scaled_dot_product_attention(query, key, value, /*attn_mask=*/std::nullopt,
                                          /*dropout_p=*/0.0, /*is_causal=*/true);  // (B, H, S, D)
}

}  // namespace temper
