// Counts the memory that a piece of code takes, by the allocator's hooks of the address sanitizer.
#pragma once

#include <cstdint>

namespace temper {

/// Installs the hooks; once in a process.
void count_memory();

/// The most bytes that were held at once since reset_peak_memory(), above those held then.
int64_t peak_memory();
void reset_peak_memory();

}  // namespace temper
