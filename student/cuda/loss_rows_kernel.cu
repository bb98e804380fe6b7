// Note [Rows on a GPU]
// ~~~~~~~~~~~~~~~~~~~~
// One block of threads a row. A first walk takes the maxima and the sums of exponentials at once,
// relative to the largest logit that the thread has met (online softmax, Milakov and Gimelshein
// 2018, arXiv 1805.02867); a last one reads the row again, backwards, what it can from the
// second-level cache, and writes the gradient. Forward KL and all sparse targets need no more; the
// other divergences have one walk in between, for the mean that their gradient subtracts, and
// smoothed labels one for the mean logit.
//
// Numbers of a row are computed in float (double for double), sums over threads in double. The
// label has its own share of the gradient: one thread writes it when the walk is done, so that the
// walk need not look for it.
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

/// Blocks that a multiprocessor shall have registers for, so that one computes while another reads.
template <typename S>
constexpr int kBlocks = std::is_same_v<S, double> ? 1 : 2;

/// One row: LossRows, with arrays on the GPU, the student's logits of type S and the teacher's of
/// type Q. P as in at_one().
template <typename S, typename Q, SoftRows kSoft, typename D, int P>
__global__ void __launch_bounds__(kMostThreads, kBlocks<S>)
    loss_row(const LossRows block, const D terms) {
  using T = Math<S>;
  constexpr bool kDense = kSoft == SoftRows::kDense, kNone = kSoft == SoftRows::kNone;
  constexpr bool kSparse = !kDense && !kNone;
  extern __shared__ double shared[];
  T* of_entries = reinterpret_cast<T*>(shared);

  const int64_t number = blockIdx.x;
  const int n = static_cast<int>(block.vocab);
  S* logits = static_cast<S*>(block.logits) + number * block.vocab;
  S* gradient = static_cast<S*>(block.gradient) + number * block.vocab;
  const Q* teacher;  // without such logits the student's, which no formula looks at
  if constexpr (kDense) {
    teacher = static_cast<const Q*>(block.teacher) + number * block.vocab;
  } else {
    teacher = logits;
  }
  const int label = static_cast<int>(block.labels[number]);
  const T label_logit = widened(logits[label]);
  const T label_of_teacher = widened(teacher[label]);
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

  const double inverse = kNone ? 1.0 : 1 / block.temperature;
  const Factors<T> factors = {static_cast<T>(kLog2E * inverse), static_cast<T>(kLog2E)};
  OnlineSums<T, P> sums;
  read_rows(logits, teacher, n, [&](const auto& s, const auto& t) {
    add<kDense, kDense && kIsForward<D>>(sums, s, t, factors);
  });
  double origins[4] = {sums.origin, sums.one_origin, sums.teacher_origin, most_entry};
  combine<Most>(origins, -INFINITY);
  // What the sums are relative to. Those of a tail to its own largest logit: at a small T they
  // would all be 0 beside the K's.
  const T entry = static_cast<T>(origins[3]);
  const double origin = fmax(origins[0], static_cast<double>(entry * factors.at_t));
  const double one_origin = fmax(origins[1], static_cast<double>(entry * factors.at_one));
  const bool apart = kSoft == SoftRows::kBucket && origins[0] > -kFurthest<T>;
  const T sums_origin = static_cast<T>(apart ? origins[0] : origin);
  const T sums_one_origin = static_cast<T>(apart ? origins[1] : one_origin);
  const T teacher_origin = static_cast<T>(origins[2]);
  sums.move_to(sums_origin, sums_one_origin, teacher_origin);
  double totals[4] = {sums.z, P == 1 ? sums.z : sums.z_one, sums.zq, sums.weighted};
  combine<Plus>(totals, 0);

  const double weight = block.weights != nullptr ? block.weights[number] : 1.0;
  Row row = {};
  row.soft = weight * block.soft_weight * inverse;
  row.hard = weight * block.hard_weight;
  row.flat = row.hard * block.smoothing / n;
  row.at_t = {static_cast<double>(factors.at_t), origin};
  row.at_one = {static_cast<double>(factors.at_one), one_origin};
  if (P != 0) row.at_one = {P * row.at_t.factor, P * row.at_t.origin};
  const double below = static_cast<double>(sums_origin) - origin;
  const double one_below = P == 0 ? static_cast<double>(sums_one_origin) - one_origin : P * below;
  row.z = totals[0] * exp2(below);
  row.z_one = totals[1] * exp2(one_below);
  row.zq = totals[2];
  if constexpr (kSoft == SoftRows::kBucket) {
    double of_ids[2] = {0, 0};
    for (int k = first; k < count; k += stride) {
      const double logit = static_cast<double>(of_entries[k]);
      of_ids[0] += exp(row.at_t.of(logit));
      of_ids[1] += exp(row.at_one.of(logit));
    }
    combine<Plus>(of_ids, 0);
    row.z += of_ids[0];
    row.z_one += of_ids[1];
  }
  double of_logits = 0;
  if (block.smoothing > 0) {
    double sum[1] = {0};
    for (int k = first; k < count && kSoft == SoftRows::kBucket; k += stride)
      sum[0] += static_cast<double>(of_entries[k]);
    read_rows(logits, teacher, n, [&](const auto& s, const auto&) {
      T part = 0;
#pragma unroll
      for (const T each : s) part += kSoft == SoftRows::kBucket && each == -INFINITY ? T(0) : each;
      sum[0] += static_cast<double>(part);
    });
    combine<Plus>(sum, 0);
    of_logits = sum[0];
  }

  const auto is_number = [](double at) { return at > -kFurthest<T> && at < kFurthest<T>; };
  const bool fits = is_number(origin) && isfinite(row.z + row.z_one) &&
                    (!kDense || (is_number(origins[2]) && isfinite(row.zq)));
  if (!fits) {
    for (int i = first; i < n; i += stride) gradient[i] = narrowed<S>(static_cast<T>(NAN));
    if (first == 0)
      block.divergences[number] = block.cross_entropies[number] = block.losses[number] = NAN;
    return;
  }

  const T at_t = factors.at_t, one = factors.at_one;  // and of the origins, those of the sums
  const T hard = static_cast<T>(row.hard / row.z_one), flat = static_cast<T>(row.flat);
  // `value` of each logit, with what the label has beyond that.
  const auto write = [&](const auto& value) {
    write_rows(logits, teacher, gradient, n, value);
    __syncthreads();
    if (first == 0) {
      const T of_label = static_cast<T>(row.hard * (1 - block.smoothing));
      gradient[label] = narrowed<S>(value(label_logit, label_of_teacher) - of_label);
    }
  };
  double divergence = 0;
  if constexpr (kNone) {
    write([&](T s, T) { return fma(exp2_of(fma(s, at_t, -sums_origin)), hard, -flat); });
  } else if constexpr (kDense && kIsForward<D>) {
    divergence = kLn2 * totals[3] / row.zq - log(row.zq) + log(row.z);
    const T of_q = static_cast<T>(row.soft / row.zq);
    // For P = 1 both softmaxes are one.
    const T of_p = static_cast<T>(row.soft / row.z + (P == 1 ? row.hard / row.z_one : 0.0));
    write([&](T s, T t) {
      const T e = exp2_of(fma(s, at_t, -sums_origin)), f = exp2_of(fma(t, at_t, -teacher_origin));
      T of_e = of_p, rest = -flat;
      if (P == 0) rest = fma(at_one<P>(e, s, one, sums_one_origin), hard, rest);
      if (P == 2) of_e = fma(e, hard, of_e);
      if (P == 4) of_e = fma(e * e * e, hard, of_e);
      return fma(f, -of_q, fma(e, of_e, rest));
    });
  } else if constexpr (kDense) {
    const double log_of_z = log(row.z), log_of_zq = log(row.zq);
    const T log_z = static_cast<T>(log_of_z), log_zq = static_cast<T>(log_of_zq);
    const T log2_z = static_cast<T>(log_of_z * kLog2E),
            log2_zq = static_cast<T>(log_of_zq * kLog2E);
    const T ln2 = static_cast<T>(kLn2);
    const auto term = [&](T s, T t, T* p) {
      const T x = fma(s, at_t, -sums_origin), y = fma(t, at_t, -teacher_origin);
      *p = exp2_of(x - log2_z);
      return terms(fma(x, ln2, -log_z), fma(y, ln2, -log_zq), *p, exp2_of(y - log2_zq));
    };
    T values = 0, mean = 0;
    read_rows(logits, teacher, n, [&](const auto& s, const auto& t) {
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
    write([&](T s, T t) {
      T p;
      const T pg = term(s, t, &p).pg;
      return pg * soft - p * of_mean + fma(exp2_of(fma(s, one, -sums_one_origin)), hard, -flat);
    });
  } else {
    const Entries<T> entries = {
        ids, block.log_q != nullptr ? block.log_q + number * block.entries : nullptr, of_entries,
        count};
    auto targets = sparse_targets<kSoft>(entries, terms, block.scalars[number]);
    const SparsePart part = targets.sums(row, log(totals[0]) + kLn2 * below);
    divergence = part.divergence;
    const T coefficient = static_cast<T>(totals[0] > 0 ? row.soft * part.share / totals[0] : 0.0);
    const T factor = hard * static_cast<T>(exp2(one_below));
    write([&](T s, T) {
      return fma(exp2_of(fma(s, at_t, -sums_origin)), coefficient,
                 fma(exp2_of(fma(s, one, -sums_one_origin)), factor, -flat));
    });
    __syncthreads();
    for (int k = first; k < count; k += stride) {  // an id drawn twice gets the same number twice
      double of_entry =
          row.soft * targets.gradient(row, k) + row.hard_part(static_cast<double>(of_entries[k]));
      if (ids[k] == label) of_entry -= row.hard * (1 - block.smoothing);
      gradient[ids[k]] = narrowed<S>(static_cast<T>(of_entry));
    }
  }

  if (first != 0) return;
  const double log_z = log(row.z_one);
  const double cross_entropy = log_z - row.at_one.of(static_cast<double>(label_logit));
  const double smoothed = block.smoothing > 0
                              ? (1 - block.smoothing) * cross_entropy +
                                    block.smoothing * (log_z - row.at_one.of(of_logits / n))
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
      return launch<S, SoftRows::kNone, S, 1>(block, ForwardKl{}, stream);
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
