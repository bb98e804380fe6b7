#include "student/head_loss.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "data/corpus.h"
#include "model/weight_gradient.h"

namespace temper {
namespace {

// Of a chunk, the teacher's included. A GPU wants larger products.
constexpr int64_t kLogitsBytes = int64_t{52} << 20, kGpuLogitsBytes = int64_t{252} << 20;

// The first `rows` of a buffer that grows where it must: (rows, columns).
at::Tensor rows_of(at::Tensor& buffer, int64_t rows, const at::Tensor& like, int64_t columns) {
  if (!buffer.defined() || buffer.size(0) < rows || buffer.size(1) != columns ||
      buffer.scalar_type() != like.scalar_type() || buffer.device() != like.device()) {
    buffer = at::Tensor();  // free the old one first
    buffer = at::empty({rows, columns}, like.options());
  }
  return buffer.narrow(0, 0, rows);
}

int64_t chosen_chunk(int64_t row_bytes, at::Device device) {
  if (device.is_cuda())
    return std::min<int64_t>(8192, std::max<int64_t>(128, kGpuLogitsBytes / row_bytes / 128 * 128));
  const int64_t rows = std::max<int64_t>(16, kLogitsBytes / row_bytes);
  return rows < 64 ? rows : std::min<int64_t>(1024, rows / 32 * 32);  // whole tiles of a product
}

}  // namespace

LossSums head_loss(const at::Tensor& hidden, const at::Tensor& head,
                   const at::Tensor& head_gradient, const at::Tensor& labels,
                   const SoftTargets& teacher, const LossConfig& config,
                   at::Tensor& hidden_gradient, const HeadLossOptions& options) {
  const at::NoGradGuard no_grad;
  const at::ScalarType compute = hidden.scalar_type();
  const int64_t vocab = head.size(0);
  const bool makes_teacher = teacher.defined() && teacher.kind == Payload::kHidden;
  // Then the gradient by the logits of the valid tokens fills the teacher's first rows.
  const bool overwrites = options.overwrite_teacher && teacher.defined() &&
                          teacher.kind == Payload::kFull &&
                          teacher.values.scalar_type() == compute && teacher.values.is_contiguous();
  HeadLossWorkspace own;
  HeadLossWorkspace& workspace = options.workspace != nullptr ? *options.workspace : own;

  const at::Tensor weight = head.detach().to(compute);                      // (V, C)
  const at::Tensor valid = (labels != kIgnoredLabel).nonzero().squeeze(1);  // (valid)
  const bool all_valid = valid.numel() == labels.numel();
  hidden_gradient = all_valid ? at::empty_like(hidden) : at::zeros_like(hidden);  // (N, C)
  const bool copies_teacher = makes_teacher || (overwrites && !all_valid);
  const int64_t row_bytes =
      vocab * (hidden.element_size() + (copies_teacher ? teacher.values.element_size() : 0));
  const int64_t chunk = options.chunk_tokens > 0
                            ? options.chunk_tokens
                            : std::min(chosen_chunk(row_bytes, hidden.device()), valid.numel());

  const auto pulse = [&] {
    if (options.between) options.between();
  };
  // Of the tokens valid[begin, begin + n): gradient (n, V) by the logits, hidden states h (n, C).
  const auto backward = [&](const at::Tensor& gradient, const at::Tensor& h, int64_t begin) {
    if (all_valid) {
      at::Tensor place = hidden_gradient.narrow(0, begin, h.size(0));  // (n, C)
      at::mm_out(place, gradient, weight);
    } else {
      hidden_gradient.index_copy_(0, valid.narrow(0, begin, h.size(0)), at::mm(gradient, weight));
    }
    pulse();
    add_weight_gradient(gradient, h, head_gradient, workspace.head);
    pulse();
  };
  const at::Tensor numbers =
      at::empty({3, valid.numel()}, hidden.options().dtype(at::kDouble));  // (3, valid)
  for (int64_t begin = 0; begin < valid.numel(); begin += chunk) {
    const int64_t n = std::min(chunk, valid.numel() - begin);
    const at::Tensor rows = valid.narrow(0, begin, n);  // (n)
    const auto pick = [&](const at::Tensor& from) {
      return all_valid ? from.narrow(0, begin, n) : from.index_select(0, rows);
    };
    SoftTargets soft = all_valid ? teacher.narrow(begin, n) : teacher.select(rows);
    if (makes_teacher) {
      at::Tensor made = rows_of(workspace.teacher, n, soft.values, vocab);  // (n, V)
      at::mm_out(made, soft.values, soft.head.t());
      soft = SoftTargets::of_logits(made);
      pulse();
    }
    const at::Tensor h = pick(hidden);                           // (n, C)
    at::Tensor logits = rows_of(workspace.logits, n, h, vocab);  // (n, V)
    at::mm_out(logits, h, weight.t());
    pulse();
    const at::Tensor weights = options.weights.defined() ? pick(options.weights) : at::Tensor();
    // The rows of the chunks to come are not among these: the k-th valid token is none before the
    // k-th row. Those of this chunk are copies, or the very rows that are written.
    const at::Tensor gradient = overwrites ? teacher.values.narrow(0, begin, n) : logits;  // (n, V)
    distillation_loss_rows_(logits, soft, pick(labels), config, weights,
                            numbers.narrow(1, begin, n), gradient);
    pulse();
    if (!overwrites) backward(gradient, h, begin);
  }
  if (overwrites && valid.numel() > 0) {
    backward(teacher.values.narrow(0, 0, valid.numel()),
             all_valid ? hidden : hidden.index_select(0, valid), 0);
  }
  return sums_of(numbers);
}

}  // namespace temper
