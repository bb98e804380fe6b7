// The kernel of loss_rows.h, once for each instruction set that it is compiled for. No LibTorch
// headers here: what they define inline must not be compiled for a processor that is not at hand.
#pragma once

#include <cstdint>

#include "student/loss_rows.h"

namespace temper {

/// Elements of a row's copy: V, and what fills up whole blocks.
constexpr int64_t kLossRowUnit = 64;
inline int64_t padded_vocab(int64_t vocab) {
  return (vocab + kLossRowUnit - 1) / kLossRowUnit * kLossRowUnit;
}

/// Copies of a row that a thread needs, each of padded_vocab(V) floats (doubles for kDouble).
constexpr int64_t kLossRowCopies = 3;

/// The rows [begin, end). `scratch`: kLossRowCopies rows, aligned to 64 bytes, of this thread.
using LossRowsKernel = void(const LossRows& block, int64_t begin, int64_t end, void* scratch);
LossRowsKernel loss_rows_kernel_default, loss_rows_kernel_avx2, loss_rows_kernel_avx512;

}  // namespace temper
