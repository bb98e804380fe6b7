#include "comm/message_link.h"

#include <deque>
#include <utility>
#include <vector>

#include "comm/credits.h"

namespace temper {
namespace {

class MessageStudentLink : public StudentLink {
 public:
  MessageStudentLink(const Communicator& world, int teacher)
      : world_(world), teacher_(teacher), credits_(world, teacher) {}

  ~MessageStudentLink() override {
    // Receives are left only if the student stopped early; their messages may never come.
    if (receives_.empty()) return;
    for (Request& receive : receives_) receive.abandon();
    credits_.abandon();
  }

  void grant(int64_t unit, const at::Tensor& slot) override {
    receives_.push_back(world_.receive_part_async(slot, teacher_, kSoftTargetTag));
    credits_.grant({unit, static_cast<int64_t>(slot.nbytes())});
  }

  void end() override { credits_.grant(kEndOfCredits); }

  int64_t arrived() override {
    credits_.progress();
    int64_t count = 0;
    for (Request& receive : receives_) {
      if (!receive.test()) break;
      ++count;
    }
    return count;
  }

  Arrival take() override {
    const Request received = std::move(receives_.front());
    receives_.pop_front();
    TORCH_CHECK(received.bytes() >= kHeaderBytes, "soft targets from teacher rank ", teacher_,
                " of ", received.bytes(), " bytes have no header");
    return {read_header(received.buffer()), received.bytes(), received.bytes(), received.buffer()};
  }

 private:
  const Communicator& world_;
  int teacher_;
  std::deque<Request> receives_;  // granted, not taken
  CreditOutbox credits_;
};

class MessageTeacherLink : public TeacherLink {
 public:
  MessageTeacherLink(const Communicator& world, int student, const ChannelConfig& config,
                     int64_t ring)
      : world_(world), student_(student), credits_(world, student) {
    for (int64_t i = 0; i < ring; ++i) buffers_.push_back(make_buffer(config));  // (bytes)
    sends_.resize(static_cast<size_t>(ring));
  }

  bool ready(int64_t unit) override {
    if (!credits_.has(unit, static_cast<int64_t>(buffers_.front().nbytes()))) {
      ended_ = credits_.ended();
      return false;
    }
    if (acquired_ - published_ == sends_.size()) return false;  // every buffer is being filled
    return sends_[acquired_ % sends_.size()].test();
  }

  at::Tensor acquire(int64_t) override {
    return buffers_[acquired_++ % buffers_.size()];  // (bytes)
  }

  void publish(const SoftTargetHeader& header, int64_t bytes) override {
    const size_t at = published_++ % buffers_.size();
    write_header(buffers_[at], header);
    sends_[at] = world_.send_part_async(buffers_[at], bytes, student_, kSoftTargetTag);
  }

  bool progress() override {
    bool all = true;
    for (Request& send : sends_) all = send.test() && all;
    return all;
  }

 private:
  const Communicator& world_;
  int student_;
  CreditInbox credits_;
  std::vector<at::Tensor> buffers_;  // of (bytes)
  std::vector<Request> sends_;       // of each buffer; its destructor waits for what has not left
  size_t acquired_ = 0, published_ = 0;
};

}  // namespace

std::unique_ptr<StudentLink> make_message_student_link(const Communicator& world, int teacher) {
  return std::make_unique<MessageStudentLink>(world, teacher);
}

std::unique_ptr<TeacherLink> make_message_teacher_link(const Communicator& world, int student,
                                                       const ChannelConfig& config, int64_t ring) {
  return std::make_unique<MessageTeacherLink>(world, student, config, ring);
}

}  // namespace temper
