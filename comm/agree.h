// Errors that one rank sees and all must act on. A rank that threw alone would leave its peers
// waiting for ever.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>

#include "comm/mpi/communicator.h"

namespace temper {

/// What all ranks throw after agree(): the first failing rank's message. `reporter` is true on one
/// rank only, the one that prints it.
class AgreedError : public std::runtime_error {
 public:
  AgreedError(const std::string& message, bool reports, bool is_user_error)
      : std::runtime_error(message), reporter(reports), user_error(is_user_error) {}
  bool reporter;
  bool user_error;  ///< c10::ValueError: bad configuration or input
};

/// Runs `local` (which must not communicate) on every rank. If it threw on any, all ranks throw
/// AgreedError with the message of the lowest such rank. Collective. Costs one small all-reduce.
void agree(const Communicator& comm, const std::function<void()>& local);

/// Compares `mine` on all ranks. Where they differ all throw AgreedError, as for a bad
/// configuration: `what`, the first rank that differs from rank 0, both ranks' hosts and values,
/// and `remedy`. Values of several lines are shown by the first line that differs. Collective.
void agree_on(const Communicator& comm, const std::string& what, const std::string& mine,
              const std::string& remedy);

/// The message for a person in any exception: one line, without LibTorch's backtrace.
std::string plain_message(const std::exception& error);

}  // namespace temper
