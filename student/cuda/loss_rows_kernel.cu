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
#include <limits>
#include <type_traits>

#define CPU_CAPABILITY CUDA
#include "student/cuda/loss_rows_kernel.h"
#include "student/cuda/row_walk.cuh"
#include "student/kernels/divergence_terms.h"

namespace temper {
namespace {

using gpu::combine;
using gpu::exp_of;
using gpu::Math;
using gpu::narrowed;
using gpu::Walk;
using gpu::walk_rows;
using gpu::widened;

/// Where a maximum begins: finite, so that differences are; what is not above it counts as -∞.
template <typename T>
constexpr T kNoLogit = std::numeric_limits<T>::lowest() / 8;

/// So that a shift away from it stays finite, times any sum.
constexpr double kFurthest = 1e30;

/// Over some of a row's numbers, those with exponentials relative to the maxima of these numbers.
template <typename T>
struct OnlineSums {
  T max = kNoLogit<T>, teacher_max = kNoLogit<T>;
  T z = 0, z_one = 0;  // Σ exp((s − max)/T), Σ exp(s − max)
  T zq = 0;            // Σ f, f = exp((t − teacher_max)/T)
  T weighted = 0;      // Σ f·(y − x), x and y the exponents at T
  T logits = 0;        // Σ s

  __device__ void move_to(T new_max, T new_teacher_max, T inverse) {
    const T far = static_cast<T>(-kFurthest);
    const T shift = max - new_max > far ? max - new_max : far;
    const T teacher_shift =
        teacher_max - new_teacher_max > far ? teacher_max - new_teacher_max : far;
    const T factor = exp_of(teacher_shift * inverse);
    weighted = factor * (weighted + zq * (teacher_shift - shift) * inverse);
    zq *= factor;
    z *= exp_of(shift * inverse);
    z_one *= exp_of(shift);
    max = new_max;
    teacher_max = new_teacher_max;
  }
};

/// exp(above) at T = 1, from its exponential e at T = P; P = 0: any T.
template <int P, typename T>
__device__ T at_one(T e, T above) {
  if constexpr (P == 0) return exp_of(above);
  if constexpr (P == 1) return e;
  const T square = e * e;
  if constexpr (P == 2) return square;
  return square * square;
}

template <int P, bool kTeacher, bool kForward, bool kTempered, typename T, int N>
__device__ void add(OnlineSums<T>& sums, const T (&s)[N], const T (&t)[N], T inverse) {
  T most = sums.max, teacher_most = sums.teacher_max;
#pragma unroll
  for (int j = 0; j < N; ++j) {
    most = s[j] > most ? s[j] : most;
    if (kTeacher) teacher_most = t[j] > teacher_most ? t[j] : teacher_most;
  }
  if (most > sums.max || teacher_most > sums.teacher_max) sums.move_to(most, teacher_most, inverse);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    sums.logits += s[j];
    const T above = s[j] - most;
    if (!kTempered) {
      sums.z_one += exp_of(above);
      continue;
    }
    const T x = above * inverse;
    const T e = exp_of(x);
    sums.z += e;
    sums.z_one += at_one<P>(e, above);
    if (!kTeacher) continue;
    const T y = (t[j] - teacher_most) * inverse;
    const T f = exp_of(y);
    sums.zq += f;
    if (kForward) sums.weighted += where_positive(f, f * (y - x));
  }
}

/// A row's coefficients and sums, the same for every thread.
struct Row {
  double soft, hard, flat;  // of the gradient: divergence by logits/T, cross-entropy, smoothing
  double inverse;           // 1/T
  double max, teacher_max;
  double z, z_one, zq;

  /// exp(x), p and p at T = 1 of a logit.
  __device__ double exponent(double logit) const { return (logit - max) * inverse; }
  __device__ double log_p(double logit) const { return exponent(logit) - log(z); }
  __device__ double hard_part(double logit) const { return hard * exp(logit - max) / z_one - flat; }
};

/// The sparse targets of a row: ids, what the teacher says of them, and the student's logits.
template <typename T>
struct Entries {
  const int64_t* ids;
  const double* log_q;  // null for draws
  const T* logits;      // in shared memory
  int count;

  /// log Σ exp of log_q.
  __device__ double log_sum() const {
    double most[1] = {-INFINITY};
    for (int k = static_cast<int>(threadIdx.x); k < count; k += static_cast<int>(blockDim.x))
      most[0] = fmax(most[0], log_q[k]);
    combine<gpu::Most>(most, -INFINITY);
    double sum[1] = {0};
    for (int k = static_cast<int>(threadIdx.x); k < count; k += static_cast<int>(blockDim.x))
      sum[0] += exp(log_q[k] - most[0]);
    combine<gpu::Plus>(sum, 0);
    return most[0] + log(sum[0]);
  }
};

/// How the sparse gradient is made: coefficient · exp(x) for every id, and what the entries have
/// instead.
struct SparsePart {
  double divergence, coefficient;
};

// K ids and their complement are K + 1 outcomes; `rest`: Σ exp(x) of the complement. `write(k, g)`
// takes each entry's gradient by logits/T.
template <typename T, typename D>
struct Bucket {
  Entries<T> entries;
  D terms;
  double shift, log_tail, mean;

  __device__ Terms<double> of(const Row& row, int k) const {
    const double log_p = row.log_p(static_cast<double>(entries.logits[k]));
    const double log_q = entries.log_q[k] + shift;
    return terms(log_p, log_q, exp(log_p), exp(log_q));
  }

  __device__ SparsePart sums(const Row& row, double rest) {
    // Rounded on the wire, the K no longer add up to exactly what the tail leaves.
    shift = log1p(-exp(log_tail)) - entries.log_sum();
    double parts[2] = {0, 0};
    for (int k = static_cast<int>(threadIdx.x); k < entries.count;
         k += static_cast<int>(blockDim.x)) {
      const Terms<double> term = of(row, k);
      parts[0] += term.value;
      parts[1] += term.pg;
    }
    combine<gpu::Plus>(parts, 0);
    const double log_p = log(rest / row.z);
    const Terms<double> tail = terms(log_p, log_tail, exp(log_p), exp(log_tail));
    mean = parts[1] + tail.pg;
    const double gradient = tail.pg - exp(log_p) * mean;
    return {parts[0] + tail.value, rest > 0 ? gradient / rest : 0.0};
  }

  __device__ double gradient(const Row& row, int k) const {
    return of(row, k).pg - exp(row.log_p(static_cast<double>(entries.logits[k]))) * mean;
  }
};

// The K entries are all there is.
template <typename T>
struct Renormalised {
  Entries<T> entries;
  double norm;

  __device__ SparsePart sums(const Row& row, double) {
    norm = entries.log_sum();
    double sum[1] = {0};
    for (int k = static_cast<int>(threadIdx.x); k < entries.count;
         k += static_cast<int>(blockDim.x)) {
      const double log_q = entries.log_q[k] - norm, q = exp(log_q);
      sum[0] += where_positive(q, q * (log_q - row.log_p(static_cast<double>(entries.logits[k]))));
    }
    combine<gpu::Plus>(sum, 0);
    return {sum[0], 1 / row.z};
  }

  __device__ double gradient(const Row& row, int k) const {
    return exp(row.log_p(static_cast<double>(entries.logits[k]))) - exp(entries.log_q[k] - norm);
  }
};

// n draws, each of the same weight; an id may be among them more than once.
template <typename T>
struct Draws {
  Entries<T> entries;
  double entropy;

  __device__ SparsePart sums(const Row& row, double) {
    double sum[1] = {0};
    for (int k = static_cast<int>(threadIdx.x); k < entries.count;
         k += static_cast<int>(blockDim.x))
      sum[0] -= row.log_p(static_cast<double>(entries.logits[k]));
    combine<gpu::Plus>(sum, 0);
    return {sum[0] / entries.count - entropy, 1 / row.z};
  }

  __device__ double gradient(const Row& row, int k) const {
    int times = 0;
    for (int other = 0; other < entries.count; ++other)
      times += entries.ids[other] == entries.ids[k];
    return exp(row.log_p(static_cast<double>(entries.logits[k]))) -
           static_cast<double>(times) / entries.count;
  }
};

template <SoftRows kSoft, typename T, typename D>
__device__ auto sparse_targets(const Entries<T>& entries, const D& terms, double scalar) {
  if constexpr (kSoft == SoftRows::kBucket) return Bucket<T, D>{entries, terms, 0, scalar, 0};
  if constexpr (kSoft == SoftRows::kRenormalised) return Renormalised<T>{entries, 0};
  if constexpr (kSoft == SoftRows::kDraws) return Draws<T>{entries, scalar};
}

template <typename D>
constexpr bool kIsForward = std::is_same_v<D, ForwardKl>;

constexpr int kMostThreads = 512;

/// One row: LossRows, with arrays on the GPU. P as in at_one().
template <typename S, SoftRows kSoft, typename D, int P>
__global__ void __launch_bounds__(kMostThreads) loss_row(const LossRows block, const D terms) {
  using T = Math<S>;
  constexpr bool kDense = kSoft == SoftRows::kDense, kNone = kSoft == SoftRows::kNone;
  constexpr bool kSparse = !kDense && !kNone;
  extern __shared__ double shared[];
  T* of_entries = reinterpret_cast<T*>(shared);

  const int64_t number = blockIdx.x;
  const int n = static_cast<int>(block.vocab);
  S* logits = static_cast<S*>(block.logits) + number * block.vocab;
  const S* teacher = kDense ? static_cast<const S*>(block.teacher) + number * block.vocab : nullptr;
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
  double maxima[2] = {fmax(static_cast<double>(sums.max), most_entry),
                      static_cast<double>(sums.teacher_max)};
  combine<gpu::Most>(maxima, -INFINITY);
  sums.move_to(static_cast<T>(maxima[0]), static_cast<T>(maxima[1]), inverse);
  double totals[5] = {sums.z, sums.z_one, sums.zq, sums.weighted, sums.logits};
  combine<gpu::Plus>(totals, 0);

  const double weight = block.weights != nullptr ? block.weights[number] : 1.0;
  Row row = {};
  row.soft = weight * block.soft_weight / block.temperature;
  row.hard = weight * block.hard_weight;
  row.flat = row.hard * block.smoothing / n;
  row.inverse = 1 / block.temperature;
  row.max = maxima[0];
  row.teacher_max = maxima[1];
  row.z = totals[0];
  row.z_one = totals[1];
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
    combine<gpu::Plus>(of_ids, 0);
    row.z += of_ids[0];
    row.z_one += of_ids[1];
    if (block.smoothing > 0) {  // the sum was over -∞ as well
      double of_tail[1] = {0};
      walk_rows<Walk::kRead>(logits, teacher, n, [&](int, const auto& s, const auto&) {
        for (const T each : s) of_tail[0] += each == -INFINITY ? 0.0 : static_cast<double>(each);
      });
      combine<gpu::Plus>(of_tail, 0);
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
    combine<gpu::Plus>(parts, 0);
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
    const SparsePart part = targets.sums(row, totals[0]);
    divergence = part.divergence;
    const T coefficient = static_cast<T>(row.soft * part.coefficient);
    walk_rows<Walk::kWrite>(logits, teacher, n, [&](int i, auto& s, const auto&) {
#pragma unroll
      for (T& each : s) {
        const T above = each - max;
        each = exp_of(above * inverse) * coefficient + (exp_of(above) * hard - flat);
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

template <typename S, SoftRows kSoft, int P = 0, typename D>
void launch(const LossRows& block, const D& terms, cudaStream_t stream) {
  const size_t bytes = static_cast<size_t>(block.entries) * sizeof(Math<S>);
  const auto rows = static_cast<unsigned>(block.rows);
  loss_row<S, kSoft, D, P><<<rows, threads_for<S>(block.vocab), bytes, stream>>>(block, terms);
}

/// Where T is 1, 2 or 4, one exponential serves both softmaxes of what is trained with most.
template <typename S, typename D>
void launch_dense(const LossRows& block, const D& terms, cudaStream_t stream) {
  if constexpr (kIsForward<D>) {
    if (block.temperature == 1) return launch<S, SoftRows::kDense, 1>(block, terms, stream);
    if (block.temperature == 2) return launch<S, SoftRows::kDense, 2>(block, terms, stream);
    if (block.temperature == 4) return launch<S, SoftRows::kDense, 4>(block, terms, stream);
  }
  launch<S, SoftRows::kDense>(block, terms, stream);
}

template <typename S>
void launch_for(const LossRows& block, cudaStream_t stream) {
  const auto with = [&](auto use) { with_terms(block.divergence, block.beta, use); };
  switch (block.soft) {
    case SoftRows::kNone:
      return launch<S, SoftRows::kNone>(block, ForwardKl{}, stream);
    case SoftRows::kDense:
      return with([&](const auto& terms) { launch_dense<S>(block, terms, stream); });
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
