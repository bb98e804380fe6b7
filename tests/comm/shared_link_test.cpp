// The ring in shared memory, with teacher and student as threads of one process over plain memory:
// so the thread sanitizer sees both sides. Payloads are written and read here, in this file's own
// code, which it watches.
#include "comm/shared_link.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <memory>
#include <thread>

#include "comm/agree.h"

namespace temper {
namespace {

constexpr int64_t kBytes = 64 + 1000 * 8;  // not a whole number of pages

/// Memory on pages of its own.
class Pages {
 public:
  explicit Pages(int64_t bytes)
      : memory_(::operator new (static_cast<size_t>(bytes), std::align_val_t{kRingAlignment})) {}
  ~Pages() { ::operator delete (memory_, std::align_val_t{kRingAlignment}); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  void* get() const { return memory_; }

 private:
  void* memory_;
};

uint64_t word_of(int64_t unit, int64_t at) {
  return static_cast<uint64_t>(unit) * 1000003 + static_cast<uint64_t>(at);
}

void write_message(const at::Tensor& buffer, int64_t unit) {
  auto* words = reinterpret_cast<uint64_t*>(buffer.mutable_data_ptr<uint8_t>() + 64);
  for (int64_t at = 0; at < 1000; ++at) words[at] = word_of(unit, at);
}

bool holds_message(const at::Tensor& buffer, int64_t unit) {
  const auto* words = reinterpret_cast<const uint64_t*>(buffer.const_data_ptr<uint8_t>() + 64);
  for (int64_t at = 0; at < 1000; ++at) {
    if (words[at] != word_of(unit, at)) return false;
  }
  return true;
}

TEST(SharedRingTest, NothingOverlaps) {
  const RingShape shape{.slot_bytes = kBytes, .slots = 3, .teachers = 2};
  const Pages pages(SharedRing::bytes(shape));
  const SharedRing ring = SharedRing::create(pages.get(), shape);
  const auto* begin = static_cast<const std::byte*>(pages.get());
  std::vector<std::pair<const std::byte*, const std::byte*>> parts;
  for (int64_t teacher = 0; teacher < 2; ++teacher) {
    const PairState& pair = ring.pair(teacher);
    // Each counter on a cache line of its own.
    EXPECT_EQ(reinterpret_cast<uintptr_t>(&pair.granted) % kCacheLine, 0u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(&pair.published) % kCacheLine, 0u);
    const auto* at = reinterpret_cast<const std::byte*>(&pair);
    parts.emplace_back(at, at + sizeof pair);
    for (int64_t count = 0; count < 3; ++count) {
      const auto* entry = reinterpret_cast<const std::byte*>(&ring.entry(teacher, count));
      parts.emplace_back(entry, entry + sizeof(PairEntry));
    }
  }
  for (int64_t slot = 0; slot < 3; ++slot) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(ring.slot(slot)) % kRingAlignment, 0u);
    parts.emplace_back(ring.slot(slot), ring.slot(slot) + kBytes);
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    EXPECT_GE(parts[i].first, begin + sizeof(RingShape));
    EXPECT_LE(parts[i].second, begin + SharedRing::bytes(shape));
    for (size_t j = 0; j < i; ++j) {
      EXPECT_TRUE(parts[i].second <= parts[j].first || parts[j].second <= parts[i].first)
          << i << " and " << j;
    }
  }
  EXPECT_EQ(&ring.entry(1, 4), &ring.entry(1, 1));
  EXPECT_EQ(SharedRing::open(pages.get()).slot(2), ring.slot(2));
}

TEST(SharedLinkTest, TwoTeachersFillTheRingOfAStudentThatWorks) {
  constexpr int64_t kUnits = 300, kTeachers = 2;
  for (const int64_t lookahead : {0, 1, 3}) {
    const RingShape shape{.slot_bytes = kBytes, .slots = lookahead + 1, .teachers = kTeachers};
    const Pages pages(SharedRing::bytes(shape));
    const SharedRing ring = SharedRing::create(pages.get(), shape);

    const auto teach = [&](int64_t me) {
      const auto link = make_shared_teacher_link(ring, me, kBytes, 0);
      for (int64_t unit = me; unit < kUnits; unit += kTeachers) {
        while (!link->ready(unit)) sched_yield();
        write_message(link->acquire(unit), unit);
        SoftTargetHeader header;
        header.step = unit;
        link->publish(header, kBytes - unit % 8);
        EXPECT_TRUE(link->progress());
      }
    };
    int64_t wrong = 0;
    const auto learn = [&] {
      std::vector<std::unique_ptr<StudentLink>> links;
      for (int64_t teacher = 0; teacher < kTeachers; ++teacher)
        links.push_back(make_shared_student_link(ring, teacher));
      int64_t granted = 0;
      const auto grant_through = [&](int64_t last) {
        for (; granted <= last && granted < kUnits; ++granted) {
          links[static_cast<size_t>(granted % kTeachers)]->grant(
              granted, ring.slot_tensor(granted % shape.slots));
        }
      };
      grant_through(lookahead - 1);
      for (int64_t unit = 0; unit < kUnits; ++unit) {
        grant_through(unit + lookahead);
        StudentLink& link = *links[static_cast<size_t>(unit % kTeachers)];
        while (link.arrived() == 0) sched_yield();
        const Arrival arrival = link.take();
        wrong += arrival.header.step != unit || arrival.bytes != kBytes - unit % 8 ||
                 !holds_message(arrival.buffer, unit);
      }
    };
    std::thread first(teach, 0), second(teach, 1);
    learn();
    first.join();
    second.join();
    EXPECT_EQ(wrong, 0) << "lookahead " << lookahead;
  }
}

TEST(SharedLinkTest, AMessageIsNotSeenBeforeItIsPublished) {
  const RingShape shape{.slot_bytes = kBytes, .slots = 2, .teachers = 1};
  const Pages pages(SharedRing::bytes(shape));
  const SharedRing ring = SharedRing::create(pages.get(), shape);
  const auto student = make_shared_student_link(ring, 0);
  const auto teacher = make_shared_teacher_link(ring, 0, kBytes, 7);
  EXPECT_FALSE(teacher->ready(0));
  student->grant(0, ring.slot_tensor(0));
  student->grant(1, ring.slot_tensor(1));
  EXPECT_TRUE(teacher->ready(0));
  write_message(teacher->acquire(0), 0);
  EXPECT_TRUE(teacher->ready(1));
  write_message(teacher->acquire(1), 1);
  EXPECT_FALSE(teacher->ready(2));
  EXPECT_EQ(student->arrived(), 0);
  teacher->publish({}, kBytes);
  EXPECT_EQ(student->arrived(), 1);
  EXPECT_TRUE(holds_message(student->take().buffer, 0));
  EXPECT_EQ(student->arrived(), 0);
  teacher->publish({}, kBytes);
  EXPECT_EQ(student->arrived(), 1);
  const Arrival second = student->take();
  EXPECT_TRUE(holds_message(second.buffer, 1));
  EXPECT_EQ(second.buffer.const_data_ptr(), static_cast<void*>(ring.slot(1))) << "it was copied";
}

TEST(SharedLinkTest, RefusesWhatDoesNotFit) {
  const RingShape shape{.slot_bytes = kBytes, .slots = 2, .teachers = 1};
  const Pages pages(SharedRing::bytes(shape));
  const SharedRing ring = SharedRing::create(pages.get(), shape);
  EXPECT_THROW(make_shared_teacher_link(ring, 1, kBytes, 7), c10::Error);
  const auto student = make_shared_student_link(ring, 0);
  student->grant(4, ring.slot_tensor(0));
  const auto text = [&](int64_t bytes, int64_t unit) {
    try {
      make_shared_teacher_link(ring, 0, bytes, 7)->ready(unit);
    } catch (const c10::Error& error) {
      return plain_message(error);
    }
    return std::string("nothing was refused");
  };
  EXPECT_EQ(text(kBytes, 4), "nothing was refused");
  EXPECT_NE(
      text(kBytes, 3).find("student rank 7 granted its micro-batch 4 and this teacher is at 3"),
      std::string::npos);
  EXPECT_NE(text(100, 4).find("buffers of 8064 bytes and this teacher of 100"), std::string::npos);
}

}  // namespace
}  // namespace temper
