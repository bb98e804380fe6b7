// Note [Rows on a GPU]
// ~~~~~~~~~~~~~~~~~~~~
// One block of threads a row. A first walk takes the maxima and the sums of exponentials at once,
// relative to the largest logit that the thread has met (online softmax, Milakov and Gimelshein
// 2018, arXiv 1805.02867); a last one reads the row again, mostly from the second-level cache, and
// writes the gradient in its place. Forward KL and all sparse targets need no more; the other
// divergences have one walk in between, for the mean that their gradient subtracts.
//
// Numbers of a row are computed in float (double for double), sums over threads in double.
#include <cmath>
#include <type_traits>

#define CPU_CAPABILITY CUDA
#include "student/cuda/loss_rows_kernel.h"
#include "student/cuda/online_sums.cuh"
#include "student/cuda/row_walk.cuh"
#include "student/cuda/sparse_targets.cuh"
#include "student/kernels/divergence_terms.h"

namespace temper {
namespace {

using namespace gpu;

template <typename D>
constexpr bool kIsForward = std::is_same_v<D, ForwardKl>;

constexpr int kMostThreads = 512;

/// One row: LossRows, with arrays on the GPU, the student's logits of type S and the teacher's of
/// type Q. P as in at_one().
template <typename S, typename Q, SoftRows kSoft, typename D, int P>
__global__ void __launch_bounds__(kMostThreads) loss_row(const LossRows block, const D terms) {
  using T = Math<S>;
  constexpr bool kDense = kSoft == SoftRows::kDense, kNone = kSoft == SoftRows::kNone;
  constexpr bool kSparse = !kDense && !kNone;
  extern __shared__ double shared[];
  T* of_entries = reinterpret_cast<T*>(shared);

  const int64_t number = blockIdx.x;
  const int n = static_cast<int>(block.vocab);
  S* logits = static_cast<S*>(block.logits) + number * block.vocab;
  const Q* teacher = kDense ? static_cast<const Q*>(block.teacher) + number * block.vocab : nullptr;
  const int label = static_cast<int>(block.labels[number]);
  const double label_logit = static_cast<double>(widened(logits[label]));
  const int count = kSparse ? static_cast<int>(block.entries) : 0;
  const int64_t* ids = kSparse ? block.ids + number * block.entries : nullptr;
  const int first = static_cast<int>(threadIdx.x), stride = static_cast<int>(blockDim.x);
  double most_entry = kNoLogit<T>;
  for (int k = first; k < count; k += stride) {
    of_entries[k] = widened(logits[ids[k]]);
    most_entry = fmax(most_entry, static_cast<double>(of_entries[k]));
  }
  __syncthreads();
  if constexpr (kSoft == SoftRows::kBucket) {
    // What is left of the sums is the tail itself, not a difference.
    for (int k = first; k < count; k += stride)
      logits[ids[k]] = narrowed<S>(static_cast<T>(-INFINITY));
    __syncthreads();
  }

  const T inverse = static_cast<T>(1 / block.temperature);
  OnlineSums<T> sums;
  walk_rows<Walk::kRead>(logits, teacher, n, [&](int, const auto& s, const auto& t) {
    add<P, kDense, kDense && kIsForward<D>, !kNone>(sums, s, t, inverse);
  });
  double maxima[3] = {static_cast<double>(sums.max), static_cast<double>(sums.teacher_max),
                      most_entry};
  combine<Most>(maxima, -INFINITY);
  // What the sums are relative to. Those of a tail to its own largest logit: at a small T they
  // would all be 0 beside the K's.
  const double most = fmax(maxima[0], maxima[2]);
  const bool apart = kSoft == SoftRows::kBucket && maxima[0] > kNoLogit<T>;
  const T sums_max = static_cast<T>(apart ? maxima[0] : most);
  sums.move_to(sums_max, static_cast<T>(maxima[1]), inverse);
  double totals[5] = {sums.z, sums.z_one, sums.zq, sums.weighted, sums.logits};
  combine<Plus>(totals, 0);

  const double weight = block.weights != nullptr ? block.weights[number] : 1.0;
  Row row = {};
  row.soft = weight * block.soft_weight / block.temperature;
  row.hard = weight * block.hard_weight;
  row.flat = row.hard * block.smoothing / n;
  row.inverse = 1 / block.temperature;
  row.max = most;
  row.teacher_max = maxima[1];
  const double below = static_cast<double>(sums_max) - row.max;
  row.z = totals[0] * exp(below * row.inverse);
  row.z_one = totals[1] * exp(below);
  row.zq = totals[2];
  double of_logits = totals[4];
  if constexpr (kSoft == SoftRows::kBucket) {
    double of_ids[3] = {0, 0, 0};
    for (int k = first; k < count; k += stride) {
      const double logit = static_cast<double>(of_entries[k]);
      of_ids[0] += exp(row.exponent(logit));
      of_ids[1] += exp(logit - row.max);
      of_ids[2] += logit;
    }
    combine<Plus>(of_ids, 0);
    row.z += of_ids[0];
    row.z_one += of_ids[1];
    if (block.smoothing > 0) {  // the sum was over -∞ as well
      double of_tail[1] = {0};
      walk_rows<Walk::kRead>(logits, teacher, n, [&](int, const auto& s, const auto&) {
        for (const T each : s) of_tail[0] += each == -INFINITY ? 0.0 : static_cast<double>(each);
      });
      combine<Plus>(of_tail, 0);
      of_logits = of_tail[0] + of_ids[2];
    }
  }

  const auto is_number = [](double max) { return isfinite(max) && max > kNoLogit<T>; };
  const bool fits = is_number(row.max) && isfinite(row.z + row.z_one) &&
                    (!kDense || (is_number(row.teacher_max) && isfinite(row.zq)));
  if (!fits) {
    walk_rows<Walk::kWrite>(logits, static_cast<const S*>(nullptr), n,
                            [](int, auto& s, const auto&) {
                              for (T& each : s) each = static_cast<T>(NAN);
                            });
    if (first == 0)
      block.divergences[number] = block.cross_entropies[number] = block.losses[number] = NAN;
    return;
  }

  const T max = static_cast<T>(row.max), teacher_max = static_cast<T>(row.teacher_max);
  const T hard = static_cast<T>(row.hard / row.z_one), flat = static_cast<T>(row.flat);
  const T of_label = static_cast<T>(row.hard * (1 - block.smoothing));
  const auto take_label = [&](int i, auto& s) {
    int j = 0;
#pragma unroll
    for (T& each : s) each -= i + j++ == label ? of_label : T(0);
  };
  double divergence = 0;
  if constexpr (kNone) {
    walk_rows<Walk::kWrite>(logits, teacher, n, [&](int i, auto& s, const auto&) {
#pragma unroll
      for (T& each : s) each = exp_of(each - max) * hard - flat;
      take_label(i, s);
    });
  } else if constexpr (kDense && kIsForward<D>) {
    divergence = totals[3] / row.zq - log(row.zq) + log(row.z);
    const T of_p = static_cast<T>(row.soft / row.z), of_q = static_cast<T>(row.soft / row.zq);
    walk_rows<Walk::kWrite>(logits, teacher, n, [&](int i, auto& s, const auto& t) {
      int j = 0;
#pragma unroll
      for (T& each : s) {
        const T above = each - max;
        const T e = exp_of(above * inverse);
        each = e * of_p - exp_of((t[j++] - teacher_max) * inverse) * of_q +
               (at_one<P>(e, above) * hard - flat);
      }
      take_label(i, s);
    });
  } else if constexpr (kDense) {
    const T log_z = static_cast<T>(log(row.z)), log_zq = static_cast<T>(log(row.zq));
    const auto term = [&](T s, T t, T* p) {
      const T log_p = (s - max) * inverse - log_z, log_q = (t - teacher_max) * inverse - log_zq;
      *p = exp_of(log_p);
      return terms(log_p, log_q, *p, exp_of(log_q));
    };
    T values = 0, mean = 0;
    walk_rows<Walk::kRead>(logits, teacher, n, [&](int, const auto& s, const auto& t) {
      int j = 0;
#pragma unroll
      for (const T each : s) {
        T p;
        const Terms<T> of = term(each, t[j++], &p);
        values += of.value;
        mean += of.pg;
      }
    });
    double parts[2] = {values, mean};
    combine<Plus>(parts, 0);
    divergence = parts[0];
    const T soft = static_cast<T>(row.soft), of_mean = static_cast<T>(row.soft * parts[1]);
    walk_rows<Walk::kWrite>(logits, teacher, n, [&](int i, auto& s, const auto& t) {
      int j = 0;
#pragma unroll
      for (T& each : s) {
        const T one = exp_of(each - max);
        T p;
        const T pg = term(each, t[j++], &p).pg;
        each = pg * soft - p * of_mean + (one * hard - flat);
      }
      take_label(i, s);
    });
  } else {
    const Entries<T> entries = {
        ids, block.log_q != nullptr ? block.log_q + number * block.entries : nullptr, of_entries,
        count};
    auto targets = sparse_targets<kSoft>(entries, terms, block.scalars[number]);
    const SparsePart part = targets.sums(row, log(totals[0]) + below * row.inverse);
    divergence = part.divergence;
    const T coefficient = static_cast<T>(totals[0] > 0 ? row.soft * part.share / totals[0] : 0.0);
    const T factor = hard * static_cast<T>(exp(below));
    walk_rows<Walk::kWrite>(logits, teacher, n, [&](int i, auto& s, const auto&) {
#pragma unroll
      for (T& each : s) {
        const T above = each - sums_max;
        each = exp_of(above * inverse) * coefficient + (exp_of(above) * factor - flat);
      }
      take_label(i, s);
    });
    __syncthreads();
    for (int k = first; k < count; k += stride) {  // an id drawn twice gets the same number twice
      double gradient =
          row.soft * targets.gradient(row, k) + row.hard_part(static_cast<double>(of_entries[k]));
      if (ids[k] == label) gradient -= row.hard * (1 - block.smoothing);
      logits[ids[k]] = narrowed<S>(static_cast<T>(gradient));
    }
  }

  if (first != 0) return;
  const double log_z = log(row.z_one);
  const double cross_entropy = log_z - (label_logit - row.max);
  const double smoothed = block.smoothing > 0
                              ? (1 - block.smoothing) * cross_entropy +
                                    block.smoothing * (log_z - (of_logits / n - row.max))
                              : cross_entropy;
  block.divergences[number] = divergence;
  block.cross_entropies[number] = cross_entropy;
  block.losses[number] = weight * (block.soft_weight * divergence + block.hard_weight * smoothed);
}

// Each shall have a dozen reads a walk, the more rows at once the better.
template <typename S>
unsigned threads_for(int64_t vocab) {
  const int64_t reads = vocab * static_cast<int64_t>(sizeof(S)) / 16;
  for (unsigned threads = kMostThreads; threads > 128; threads /= 2)
    if (reads >= 12 * static_cast<int64_t>(threads)) return threads;
  return 128;
}

template <typename S, SoftRows kSoft, typename Q = S, int P = 0, typename D>
void launch(const LossRows& block, const D& terms, cudaStream_t stream) {
  const size_t bytes = static_cast<size_t>(block.entries) * sizeof(Math<S>);
  const auto rows = static_cast<unsigned>(block.rows);
  loss_row<S, Q, kSoft, D, P><<<rows, threads_for<S>(block.vocab), bytes, stream>>>(block, terms);
}

/// Where T is 1, 2 or 4, one exponential serves both softmaxes of what is trained with most.
template <typename S, typename Q, typename D>
void launch_dense(const LossRows& block, const D& terms, cudaStream_t stream) {
  if constexpr (kIsForward<D>) {
    if (block.temperature == 1) return launch<S, SoftRows::kDense, Q, 1>(block, terms, stream);
    if (block.temperature == 2) return launch<S, SoftRows::kDense, Q, 2>(block, terms, stream);
    if (block.temperature == 4) return launch<S, SoftRows::kDense, Q, 4>(block, terms, stream);
  }
  launch<S, SoftRows::kDense, Q>(block, terms, stream);
}

template <typename S>
void launch_for(const LossRows& block, cudaStream_t stream) {
  const auto with = [&](auto use) { with_terms(block.divergence, block.beta, use); };
  switch (block.soft) {
    case SoftRows::kNone:
      return launch<S, SoftRows::kNone>(block, ForwardKl{}, stream);
    case SoftRows::kDense:
      if constexpr (!std::is_same_v<S, Math<S>>) {  // what the teacher sent is not rounded to S
        if (block.teacher_dtype == ValueDtype::kFloat)
          return with([&](const auto& terms) { launch_dense<S, float>(block, terms, stream); });
      }
      return with([&](const auto& terms) { launch_dense<S, S>(block, terms, stream); });
    case SoftRows::kBucket:
      return with([&](const auto& terms) { launch<S, SoftRows::kBucket>(block, terms, stream); });
    case SoftRows::kRenormalised:
      return launch<S, SoftRows::kRenormalised>(block, ForwardKl{}, stream);
    case SoftRows::kDraws:
      return launch<S, SoftRows::kDraws>(block, ForwardKl{}, stream);
  }
}

}  // namespace

cudaError_t queue_loss_rows(const LossRows& block, cudaStream_t stream) {
  if (block.rows == 0) return cudaSuccess;
  switch (block.dtype) {
    case ValueDtype::kFloat:
      launch_for<float>(block, stream);
      break;
    case ValueDtype::kDouble:
      launch_for<double>(block, stream);
      break;
    case ValueDtype::kBFloat16:
      launch_for<__nv_bfloat16>(block, stream);
      break;
    case ValueDtype::kHalf:
      launch_for<__half>(block, stream);
      break;
  }
  return cudaGetLastError();
}

}  // namespace temper
