#include "comm/payload.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <bit>
#include <functional>

#include "comm/handover_copy.h"
#include "comm/value_coding.h"

namespace temper {

const char* payload_name(Payload payload) {
  switch (payload) {
    case Payload::kFull:
      return "full";
    case Payload::kHidden:
      return "hidden";
    case Payload::kTopk:
      return "topk";
    case Payload::kSample:
      return "sample";
  }
  return "unknown";
}

Payload payload_from_name(const std::string& name) {
  for (const Payload payload :
       {Payload::kFull, Payload::kHidden, Payload::kTopk, Payload::kSample}) {
    if (name == payload_name(payload)) return payload;
  }
  TORCH_CHECK_VALUE(false, "--teacher.payload is '", name, "': give full, hidden, topk or sample");
}

int64_t PayloadSpec::values_per_token() const {
  switch (kind) {
    case Payload::kFull:
      return vocab;
    case Payload::kHidden:
      return width;
    case Payload::kTopk:
      return entries;
    case Payload::kSample:
      return 0;
  }
  return 0;
}

int64_t PayloadSpec::id_bits() const {
  return std::max<int64_t>(1, std::bit_width(static_cast<uint64_t>(vocab - 1)));
}

int64_t PayloadSpec::id_bytes_per_token() const {
  return has_ids() ? (entries * id_bits() + 7) / 8 : 0;
}

int64_t PayloadSpec::scalars_per_token() const {
  return (has_ids() ? 1 : 0) + (dtype == at::kByte && values_per_token() > 0 ? 2 : 0);
}

int64_t PayloadSpec::bytes_per_token() const {
  return scalars_per_token() * static_cast<int64_t>(sizeof(float)) +
         values_per_token() * static_cast<int64_t>(c10::elementSize(dtype)) + id_bytes_per_token();
}

void PayloadSpec::validate() const {
  TORCH_CHECK(vocab > 0, "a soft-target payload of a vocabulary of ", vocab, " tokens");
  TORCH_CHECK(
      dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf || dtype == at::kByte,
      "soft targets travel as fp32, bf16, fp16 or int8, not as ", dtype);
  TORCH_CHECK(kind != Payload::kHidden || width > 0,
              "the payload hidden needs the teacher's width");
  TORCH_CHECK_VALUE(kind != Payload::kTopk || (entries >= 1 && entries <= vocab),
                    "--teacher.topk is ", entries, ": give 1 to the vocabulary's size, ", vocab);
  TORCH_CHECK_VALUE(kind != Payload::kSample || (entries >= 1 && entries <= 65536),
                    "--teacher.draws is ", entries, ": give 1 to 65536");
}

PayloadView::PayloadView(const at::Tensor& bytes, const PayloadSpec& spec, int64_t tokens) {
  int64_t begin = 0;
  const auto take = [&](int64_t bytes_per_token) {
    const int64_t from = begin;
    begin += tokens * bytes_per_token;
    return bytes.narrow(0, from, tokens * bytes_per_token);  // (bytes)
  };
  const int64_t count = spec.scalars_per_token();
  if (count > 0) {
    scalars = take(count * static_cast<int64_t>(sizeof(float)))
                  .view(at::kFloat)
                  .view({tokens, count});  // (N, P)
  }
  const int64_t width = spec.values_per_token();
  if (width > 0) {
    values = take(width * static_cast<int64_t>(c10::elementSize(spec.dtype)))
                 .view(spec.dtype)
                 .view({tokens, width});  // (N, W)
  }
  if (spec.has_ids()) {
    ids =
        take(spec.id_bytes_per_token()).view({tokens, spec.id_bytes_per_token()});  // (N, id bytes)
  }
}

namespace {

/// The columns of the scalars that hold the ranges of int8 values: the last two, (n, 2).
at::Tensor ranges_of(const at::Tensor& scalars, const at::Tensor& values) {
  if (values.scalar_type() != at::kByte) return {};
  return scalars.narrow(1, scalars.size(1) - 2, 2);
}

}  // namespace

void PayloadView::write_values(int64_t begin, const at::Tensor& rows) const {
  const int64_t n = rows.size(0);
  const at::Tensor place = values.narrow(0, begin, n);  // (n, W)
  const at::ScalarType type = values.scalar_type();
  const at::Tensor ranges =
      type == at::kByte ? ranges_of(scalars.narrow(0, begin, n), values) : at::Tensor();
  if (!shared || !rows.is_cpu()) {
    encode_values(rows, place, ranges);
    return;
  }
  at::Tensor coded = rows;  // (n, W)
  if (type == at::kHalf || type == at::kByte) {
    coded = at::empty_like(place);
    encode_values(rows, coded, ranges);
  }
  handover_copy(coded, place);
}

at::Tensor PayloadView::read_values(at::ScalarType type) const {
  return decode_values(values, ranges_of(scalars, values), type);  // (N, W)
}

PayloadView PayloadView::cpu() const {
  PayloadView view = *this;
  for (at::Tensor* part : {&view.scalars, &view.values, &view.ids})
    if (part->defined()) *part = part->cpu();
  return view;
}

void pack_ids(const at::Tensor& ids, const PayloadSpec& spec, const at::Tensor& packed) {
  const at::Tensor dense = ids.cpu().contiguous();  // (n, K)
  TORCH_INTERNAL_ASSERT(packed.is_contiguous() && packed.size(1) == spec.id_bytes_per_token());
  const int64_t* id = dense.const_data_ptr<int64_t>();
  auto* out = packed.data_ptr<uint8_t>();
  const auto bits = static_cast<int>(spec.id_bits());
  for (int64_t row = 0; row < dense.size(0); ++row, out += spec.id_bytes_per_token()) {
    uint64_t waiting = 0;
    int held = 0;
    uint8_t* byte = out;
    for (int64_t k = 0; k < dense.size(1); ++k) {
      waiting |= static_cast<uint64_t>(*id++) << held;
      for (held += bits; held >= 8; held -= 8, waiting >>= 8)
        *byte++ = static_cast<uint8_t>(waiting);
    }
    if (held > 0) *byte = static_cast<uint8_t>(waiting);
  }
}

at::Tensor unpack_ids(const at::Tensor& packed, const PayloadSpec& spec) {
  const at::Tensor dense = packed.contiguous();                          // (n, id bytes)
  at::Tensor ids = at::empty({dense.size(0), spec.entries}, at::kLong);  // (n, K)
  const auto* in = dense.const_data_ptr<uint8_t>();
  int64_t* id = ids.mutable_data_ptr<int64_t>();
  const auto bits = static_cast<int>(spec.id_bits());
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  uint64_t largest = 0;
  for (int64_t row = 0; row < dense.size(0); ++row, in += spec.id_bytes_per_token()) {
    uint64_t waiting = 0;
    int held = 0;
    const uint8_t* byte = in;
    for (int64_t k = 0; k < spec.entries; ++k) {
      for (; held < bits; held += 8) waiting |= static_cast<uint64_t>(*byte++) << held;
      const uint64_t value = waiting & mask;
      largest = std::max(largest, value);
      *id++ = static_cast<int64_t>(value);
      waiting >>= bits;
      held -= bits;
    }
  }
  TORCH_CHECK(largest < static_cast<uint64_t>(spec.vocab), "soft targets with the id ", largest,
              " in a vocabulary of ", spec.vocab);
  return ids;
}

namespace {

SoftTargets each(const SoftTargets& from, const std::function<at::Tensor(const at::Tensor&)>& use) {
  SoftTargets result = from;
  for (at::Tensor* part : {&result.values, &result.ids, &result.scalars}) {
    if (part->defined()) *part = use(*part);
  }
  return result;
}

}  // namespace

SoftTargets SoftTargets::of_logits(at::Tensor logits) {
  SoftTargets result;
  result.values = std::move(logits);
  return result;
}

SoftTargets SoftTargets::narrow(int64_t begin, int64_t count) const {
  return each(*this, [&](const at::Tensor& part) { return part.narrow(0, begin, count); });
}

SoftTargets SoftTargets::select(const at::Tensor& index) const {
  return each(*this, [&](const at::Tensor& part) { return part.index_select(0, index); });
}

SoftTargets SoftTargets::to(at::Device device) const {
  SoftTargets result = each(*this, [&](const at::Tensor& part) { return part.to(device); });
  if (head.defined()) result.head = head.to(device);
  return result;
}

SoftTargets soft_targets(const PayloadView& view, const PayloadSpec& spec, const at::Tensor& head) {
  SoftTargets result;
  result.kind = spec.kind;
  if (spec.kind == Payload::kHidden) result.head = head;
  if (view.values.defined()) {
    // Logits are read as they came, chunk by chunk; the head's product needs its own type.
    const at::ScalarType type = spec.kind == Payload::kHidden ? head.scalar_type()
                                : spec.dtype == at::kByte     ? at::kFloat
                                                              : spec.dtype;
    result.values = view.read_values(type);
  }
  if (view.ids.defined()) {
    result.ids = unpack_ids(view.ids, spec);
    result.scalars = view.scalars.select(1, 0);  // (N)
  }
  return result;
}

}  // namespace temper
