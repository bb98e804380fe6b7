// Note [Shared counters]
// ~~~~~~~~~~~~~~~~~~~~~~
// A pair has two counters, `granted` and `published`; each has one writer and one reader. What a
// counter makes known is written before it (the entry of a credit; the message and its size), the
// counter is stored with release and loaded with acquire, so who sees the count sees what it stands
// for. Slots pass between the two sides in the same way:
//   - the teacher writes slot u mod (D + 1) after it saw the credit for u, which the student stored
//     after it had done with unit u - D - 1, the last that lay there;
//   - the student reads it after it saw that u is published.
// An entry is used again after `slots` more units of the pair, and of those at most D + 1 are
// granted and not taken: the one before has been read by then.

#include "comm/shared_link.h"

#include <deque>
#include <utility>
#include <vector>

namespace temper {
namespace {

class SharedStudentLink : public StudentLink {
 public:
  SharedStudentLink(const SharedRing& ring, int64_t teacher)
      : ring_(ring),
        teacher_(teacher),
        pair_(ring.pair(teacher)),
        granted_(pair_.granted.load(std::memory_order_relaxed)),
        taken_(granted_) {}

  void grant(int64_t unit, const at::Tensor& slot) override {
    ring_.entry(teacher_, granted_).credit = {unit, static_cast<int64_t>(slot.nbytes())};
    slots_.push_back(slot);
    pair_.granted.store(++granted_, std::memory_order_release);
  }

  void end() override {
    ring_.entry(teacher_, granted_).credit = kEndOfCredits;
    pair_.granted.store(++granted_, std::memory_order_release);
  }

  int64_t arrived() override { return pair_.published.load(std::memory_order_acquire) - taken_; }

  Arrival take() override {
    at::Tensor slot = std::move(slots_.front());  // (bytes)
    slots_.pop_front();
    const SoftTargetHeader header = read_header(slot);
    const int64_t bytes = ring_.entry(teacher_, taken_++).message_bytes;
    return {header, bytes, bytes, std::move(slot)};
  }

 private:
  SharedRing ring_;
  int64_t teacher_;
  PairState& pair_;
  std::deque<at::Tensor> slots_;  // granted, not taken
  int64_t granted_, taken_;
};

class SharedTeacherLink : public TeacherLink {
 public:
  SharedTeacherLink(const SharedRing& ring, int64_t teacher, int64_t bytes, int student_rank)
      : ring_(ring),
        teacher_(teacher),
        pair_(ring.pair(teacher)),
        buffer_bytes_(bytes),
        student_rank_(student_rank),
        acquired_(pair_.published.load(std::memory_order_relaxed)),
        published_(acquired_) {
    for (int64_t index = 0; index < ring.shape().slots; ++index)
      slots_.push_back(ring.slot_tensor(index));
  }

  bool ready(int64_t unit) override {
    if (pair_.granted.load(std::memory_order_acquire) == acquired_) return false;
    const Credit& credit = ring_.entry(teacher_, acquired_).credit;
    ended_ = credit.unit == kNoFurtherUnit;
    if (ended_) return false;
    check_credit(credit, unit, buffer_bytes_, student_rank_);
    return true;
  }

  at::Tensor acquire(int64_t unit) override {
    ++acquired_;
    held_.push_back(slots_[static_cast<size_t>(unit % ring_.shape().slots)]);
    return held_.back();  // (bytes)
  }

  bool shares_memory() const override { return true; }

  void publish(const SoftTargetHeader& header, int64_t bytes) override {
    write_header(held_.front(), header);
    held_.pop_front();
    ring_.entry(teacher_, published_).message_bytes = bytes;
    pair_.published.store(++published_, std::memory_order_release);
  }

  bool progress() override { return true; }

 private:
  SharedRing ring_;
  int64_t teacher_;
  PairState& pair_;
  int64_t buffer_bytes_;
  int student_rank_;
  std::vector<at::Tensor> slots_;  // of (bytes)
  std::deque<at::Tensor> held_;    // acquired, not published
  int64_t acquired_, published_;
};

}  // namespace

std::unique_ptr<StudentLink> make_shared_student_link(const SharedRing& ring, int64_t teacher) {
  return std::make_unique<SharedStudentLink>(ring, teacher);
}

std::unique_ptr<TeacherLink> make_shared_teacher_link(const SharedRing& ring, int64_t teacher,
                                                      int64_t buffer_bytes, int student_rank) {
  TORCH_CHECK(teacher >= 0 && teacher < ring.shape().teachers, "student rank ", student_rank,
              " has a ring for ", ring.shape().teachers, " teachers and this is number ", teacher);
  return std::make_unique<SharedTeacherLink>(ring, teacher, buffer_bytes, student_rank);
}

}  // namespace temper
