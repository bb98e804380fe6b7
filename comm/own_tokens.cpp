#include "comm/own_tokens.h"

#include <ATen/ATen.h>

#include <utility>

#include "comm/activity.h"
#include "comm/channel_wire.h"
#include "comm/mpi/backoff.h"

namespace temper {

OwnTokensOutbox::~OwnTokensOutbox() {
  for (Request& send : sends_) send.abandon();
}

void OwnTokensOutbox::send(const at::Tensor& tokens, int teacher) {
  at::Tensor words = tokens.to(at::kCPU, at::kLong).contiguous().clone();  // (B, S)
  sends_.push_back(world_.send_async(std::move(words), teacher, kOwnTokensTag));
}

void OwnTokensOutbox::progress() {
  while (!sends_.empty() && sends_.front().test()) sends_.pop_front();
}

at::Tensor receive_own_tokens(const Communicator& world, int student, int64_t rows, int64_t seq,
                              const std::function<void()>& meanwhile) {
  at::Tensor tokens = at::empty({rows, seq}, at::kLong);  // (B, S)
  Request request = world.receive_async(tokens, student, kOwnTokensTag);
  const Waiting waiting(Operation::kOwnTokens, student);
  const Backoff backoff;
  while (!request.test()) {
    meanwhile();
    backoff.pause();
  }
  return tokens;
}

}  // namespace temper
