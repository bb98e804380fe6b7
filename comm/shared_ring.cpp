#include "comm/shared_ring.h"

#include <ATen/ATen.h>

#include <cstring>
#include <new>

namespace temper {
namespace {

struct alignas(kCacheLine) RingHead {
  RingShape shape;
};

int64_t rounded_up(int64_t bytes, int64_t unit) { return (bytes + unit - 1) / unit * unit; }

int64_t pair_bytes(const RingShape& shape) {
  return rounded_up(static_cast<int64_t>(sizeof(PairState)) +
                        shape.slots * static_cast<int64_t>(sizeof(PairEntry)),
                    kCacheLine);
}

int64_t first_slot(const RingShape& shape) {
  return rounded_up(static_cast<int64_t>(sizeof(RingHead)) + shape.teachers * pair_bytes(shape),
                    kRingAlignment);
}

int64_t slot_stride(const RingShape& shape) { return rounded_up(shape.slot_bytes, kRingAlignment); }

}  // namespace

int64_t SharedRing::bytes(const RingShape& shape) {
  return first_slot(shape) + shape.slots * slot_stride(shape);
}

SharedRing SharedRing::create(void* memory, const RingShape& shape) {
  TORCH_INTERNAL_ASSERT(shape.slot_bytes > 0 && shape.slots > 0 && shape.teachers > 0);
  TORCH_INTERNAL_ASSERT(reinterpret_cast<uintptr_t>(memory) % kRingAlignment == 0);
  new (memory) RingHead{shape};
  const SharedRing ring(memory, shape);
  for (int64_t teacher = 0; teacher < shape.teachers; ++teacher) {
    new (&ring.pair(teacher)) PairState{.granted = 0, .published = 0};
    for (int64_t count = 0; count < shape.slots; ++count) {
      new (&ring.entry(teacher, count)) PairEntry();
    }
  }
  return ring;
}

SharedRing SharedRing::open(void* memory) {
  return {memory, static_cast<RingHead*>(memory)->shape};
}

std::byte* SharedRing::slot(int64_t index) const {
  return memory_ + first_slot(shape_) + index * slot_stride(shape_);
}

at::Tensor SharedRing::slot_tensor(int64_t index) const {
  return at::from_blob(slot(index), {shape_.slot_bytes}, at::kByte);  // (slot_bytes)
}

PairState& SharedRing::pair(int64_t teacher) const {
  return *reinterpret_cast<PairState*>(memory_ + sizeof(RingHead) + teacher * pair_bytes(shape_));
}

PairEntry& SharedRing::entry(int64_t teacher, int64_t count) const {
  auto* entries = reinterpret_cast<PairEntry*>(&pair(teacher) + 1);
  return entries[count % shape_.slots];
}

}  // namespace temper
