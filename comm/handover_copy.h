// Writing into memory that another core reads next.
//
// Note [Handing over]
// ~~~~~~~~~~~~~~~~~~~
// Between a teacher and a student that takes its messages out of a shared ring, every line of a
// slot still lies in the student's cache when the teacher writes it anew. A store asks for the
// line's old content first, one line after another: 8 GB/s where the copy itself makes 40. A string
// move tells the processor the whole length, and it takes the lines without what was in them. (So
// does memcpy, but only up to the size of a core's cache.) Stores that pass the caches do not ask
// either, and then the student reads from memory.
#pragma once

#include <ATen/core/Tensor.h>

namespace temper {

/// to (n, W) contiguous = from (n, W), converted to its dtype. Both on the CPU.
void handover_copy(const at::Tensor& from, const at::Tensor& to);

}  // namespace temper
