// The .idx beside a .bin of Megatron-LM (and NeMo, GPT-NeoX): how wide the ids in the .bin are, and
// where sequences and documents begin. The reader trusts nothing in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace temper {

struct MegatronIndex {
  int id_bytes = 0;
  bool is_signed = false;
  int64_t tokens = 0;
  int64_t documents = 0;
};

/// Reads and checks the whole index `path` against a .bin of `bin_bytes`. The sequences must lie in
/// the .bin one after the other without gaps, as Megatron's own tools write them. Throws
/// c10::ValueError naming `option`, the file and what is wrong with it.
MegatronIndex read_megatron_index(const std::string& path, size_t bin_bytes,
                                  const std::string& option);

}  // namespace temper
