#include "comm/credits.h"

#include <ATen/ATen.h>

#include <utility>

namespace temper {

void CreditOutbox::grant(const Credit& credit) {
  at::Tensor words = at::empty({2}, at::kLong);  // (2)
  words.mutable_data_ptr<int64_t>()[0] = credit.unit;
  words.mutable_data_ptr<int64_t>()[1] = credit.buffer_bytes;
  sends_.push_back(world_.send_async(std::move(words), teacher_, kCreditTag));
}

void CreditOutbox::progress() {
  while (!sends_.empty() && sends_.front().test()) sends_.pop_front();
}

void CreditOutbox::abandon() noexcept {
  for (Request& send : sends_) send.abandon();
}

bool CreditInbox::has(int64_t unit, int64_t buffer_bytes) {
  if (granted_ == unit) return true;
  if (ended_) return false;
  if (!receive_.active()) {
    words_ = at::empty({2}, at::kLong);  // (2)
    receive_ = world_.receive_async(words_, student_, kCreditTag);
  }
  if (!receive_.test()) return false;
  const int64_t* word = words_.const_data_ptr<int64_t>();
  ended_ = word[0] == kNoFurtherUnit;
  if (ended_) return false;
  check_credit({word[0], word[1]}, unit, buffer_bytes, student_);
  granted_ = unit;
  return true;
}

}  // namespace temper
