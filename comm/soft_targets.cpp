// The header of a soft-target message: what both sides compute alike, and the refusal where they do
// not.
#include "comm/soft_targets.h"

#include <c10/util/Exception.h>

#include <sstream>

namespace temper {

// FNV-1a, 64 bits (Fowler, Noll, Vo; RFC 9923), over the ids as little-endian bytes.
uint64_t hash_tokens(const at::Tensor& tokens) {
  TORCH_CHECK(tokens.scalar_type() == at::kLong && tokens.device().is_cpu(),
              "hash_tokens needs an int64 tensor on the CPU");
  const at::Tensor ids = tokens.contiguous();  // (B, S)
  const int64_t* id = ids.const_data_ptr<int64_t>();
  uint64_t hash = 0xcbf29ce484222325;
  for (int64_t i = 0; i < ids.numel(); ++i) {
    for (int shift = 0; shift < 64; shift += 8) {
      hash ^= (static_cast<uint64_t>(id[i]) >> shift) & 0xff;
      hash *= 0x100000001b3;
    }
  }
  return hash;
}

void check_header(const SoftTargetHeader& expected, const SoftTargetHeader& received,
                  int teacher_rank) {
  const auto check = [&](const char* field, const auto& ours, const auto& theirs) {
    TORCH_CHECK(ours == theirs, "soft targets from teacher rank ", teacher_rank,
                " do not fit step ", expected.step, ", rows ", expected.first_row, " to ",
                expected.first_row + expected.rows - 1, ": ", field, " is ", ours, " here and ",
                theirs, " at the teacher; start both sides with the same options and data");
  };
  check("magic", expected.magic, received.magic);
  check("payload", std::string(payload_name(expected.payload)),
        std::string(payload_name(received.payload)));
  check("step", expected.step, received.step);
  check("first_row", expected.first_row, received.first_row);
  check("rows", expected.rows, received.rows);
  check("seq", expected.seq, received.seq);
  check("vocab", expected.vocab, received.vocab);
  check("temperature", expected.temperature, received.temperature);
  check("tokenizer", expected.tokenizer, received.tokenizer);
  check("token_hash", expected.token_hash, received.token_hash);
}

}  // namespace temper
