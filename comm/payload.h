// What a soft target is made of, for each payload: how many bytes a token takes, where they lie in
// a message, and what the student gets out of it.
//
//   message:  SoftTargetHeader (64 bytes) | scalars, N·P fp32 | values, N·W | ids, N·ceil(K·bits/8)
//
//   payload   first scalar             values               ids            exact?
//   full      -                        logits, W = V        -              to the values' type
//   hidden    -                        hidden, W = C        -              to the values' type
//   topk      log of the tail's mass   log q, W = K         K most likely  biased in the tail
//   sample    entropy of q, nats       -                    n draws        in expectation
//
// q = softmax(z/T) is the tempered distribution. Ids take as many bits as the vocabulary needs.
// Values are fp32, bf16, fp16 or int8 (value_coding.h); int8 takes two more scalars, the token's
// range.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace temper {

enum class Payload : uint32_t { kFull = 1, kHidden = 2, kTopk = 3, kSample = 4 };

/// full, hidden, topk, sample.
const char* payload_name(Payload payload);
/// Throws c10::ValueError that lists the known names.
Payload payload_from_name(const std::string& name);

/// The layout of a message, the same on both sides.
struct PayloadSpec {
  Payload kind = Payload::kFull;
  int64_t vocab = 0;    ///< V
  int64_t width = 0;    ///< C, for hidden
  int64_t entries = 0;  ///< K of topk, n of sample
  at::ScalarType dtype =
      at::kBFloat16;  ///< of the values: float32, bfloat16, float16, or uint8: int8 codes

  int64_t values_per_token() const;
  int64_t id_bits() const;             ///< of one id
  int64_t id_bytes_per_token() const;  ///< of all ids, rounded up to bytes
  bool has_ids() const { return kind == Payload::kTopk || kind == Payload::kSample; }
  int64_t scalars_per_token() const;  ///< P: of has_ids() one, and two for the range of int8
  int64_t bytes_per_token() const;
  /// Throws c10::ValueError or c10::Error if no buffer can be laid out so.
  void validate() const;
};

/// The parts of a message of `tokens` tokens, as views into `bytes` (uint8, behind the header), to
/// write into or to read from. Parts that the payload lacks are undefined.
struct PayloadView {
  at::Tensor scalars;   // (N, P) float32
  at::Tensor values;    // (N, W) of the spec's dtype
  at::Tensor ids;       // (N, id_bytes_per_token) uint8
  bool shared = false;  ///< the student reads the very memory: handover_copy.h

  PayloadView() = default;
  PayloadView(const at::Tensor& bytes, const PayloadSpec& spec, int64_t tokens);

  /// Writes the tokens [begin, begin + n): values (n, W), any floating dtype, rounded as
  /// value_coding.h says.
  void write_values(int64_t begin, const at::Tensor& rows) const;
  /// All values (N, W) as `type`.
  at::Tensor read_values(at::ScalarType type) const;
  /// The same parts on the CPU: these, where they lie there.
  PayloadView cpu() const;
};

/// ids (n, K) int64 in [0, V) into packed (n, id_bytes_per_token) uint8, little-endian bits.
void pack_ids(const at::Tensor& ids, const PayloadSpec& spec, const at::Tensor& packed);
/// The way back: (n, K) int64. Throws c10::Error where an id is not below V.
at::Tensor unpack_ids(const at::Tensor& packed, const PayloadSpec& spec);

/// The soft targets of some tokens, as a loss takes them.
struct SoftTargets {
  Payload kind = Payload::kFull;
  at::Tensor values;   // full: logits (N, V); hidden: hidden states (N, C); topk: log q (N, K)
  at::Tensor ids;      // topk: (N, K) int64, distinct; sample: (N, n) int64
  at::Tensor scalars;  // topk: log of the tail's mass (N); sample: entropy of q (N)
  at::Tensor head;     // hidden: the teacher's head (V, C), of the values' dtype

  /// Of the teacher's logits (N, V), any floating dtype.
  static SoftTargets of_logits(at::Tensor logits);

  bool defined() const { return values.defined() || ids.defined(); }
  /// The tokens [begin, begin + count).
  SoftTargets narrow(int64_t begin, int64_t count) const;
  /// The tokens at `index` (n) int64.
  SoftTargets select(const at::Tensor& index) const;
  SoftTargets to(at::Device device) const;
};

/// What a message of these parts means.
SoftTargets soft_targets(const PayloadView& view, const PayloadSpec& spec, const at::Tensor& head);

}  // namespace temper
