// One chunk of logits into loss and gradient, row by row: what loss.h defines, in as few walks over
// a row as its formula allows. A row and its teacher's are read once from memory; everything else
// happens on copies in the core's own cache, in float (double for double).
//
// The kernel is compiled once for each instruction set (kernels/loss_rows_kernel.cpp) and chosen
// when the program runs, as LibTorch chooses its own.
#pragma once

#include <cstdint>

#include "student/divergence_kind.h"

namespace temper {

enum class ValueDtype : uint8_t { kFloat, kDouble, kBFloat16, kHalf };

/// What soft targets a row has.
enum class SoftRows : uint8_t {
  kNone,          ///< hard labels alone
  kDense,         ///< the teacher's logits of every id
  kBucket,        ///< K ids and one outcome that stands for all others
  kRenormalised,  ///< K ids, which are all there is
  kDraws,         ///< n draws
};

/// A chunk of n tokens; all arrays are contiguous and row-major, on one device.
struct LossRows {
  int64_t rows = 0;        ///< n
  int64_t vocab = 0;       ///< V
  void* logits = nullptr;  ///< (n, V) of `dtype`: the student's; room to work in
  /// (n, V) of `dtype`: dL/dlogits is written there. May be the memory of the logits, or that of
  /// the teacher's where these are of `dtype`, too.
  void* gradient = nullptr;
  ValueDtype dtype = ValueDtype::kFloat;
  const int64_t* labels = nullptr;  ///< (n), in [0, V)
  const double* weights = nullptr;  ///< (n): factor of each token's loss; null: 1

  SoftRows soft = SoftRows::kNone;
  const void* teacher = nullptr;  ///< kDense: (n, V) logits of `teacher_dtype`
  ValueDtype teacher_dtype = ValueDtype::kFloat;
  int64_t entries = 0;              ///< K or n of the sparse kinds
  const int64_t* ids = nullptr;     ///< (n, entries) in [0, V); distinct but for kDraws
  const double* log_q = nullptr;    ///< (n, entries); not for kDraws
  const double* scalars = nullptr;  ///< (n): kBucket log of the tail's mass, kDraws entropy of q

  Divergence divergence = Divergence::kForwardKl;
  double beta = 0.5;
  double temperature = 1;
  double soft_weight = 0;  ///< of the divergence, its temperature factor included
  double hard_weight = 1;  ///< of the cross-entropy, its factor included
  double smoothing = 0;    ///< of the labels

  // Beyond a plain cross-entropy: label_loss.h.
  double hard_temperature = 1;  ///< τ
  double entropy_weight = 0;    ///< c
  double z_weight = 0;          ///< λ
  bool has_label_terms() const {
    return hard_temperature != 1 || entropy_weight != 0 || z_weight != 0;
  }

  // Results, (n) each: sums over them in their order do not depend on the number of threads.
  double* divergences = nullptr;      ///< without weight or factor
  double* cross_entropies = nullptr;  ///< without weight or smoothing
  double* losses = nullptr;           ///< with all of them
};

/// Computes all rows with LibTorch's threads.
void compute_loss_rows(const LossRows& block);

}  // namespace temper
