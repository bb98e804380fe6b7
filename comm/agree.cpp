// One rank's error becomes every rank's error.
#include "comm/agree.h"

#include <c10/util/Exception.h>

namespace temper {
namespace {

struct Failure {
  std::string message;
  bool user_error = false;
};

/// What `local` threw, if anything.
std::optional<Failure> run(const std::function<void()>& local) {
  try {
    local();
  } catch (const AgreedError& error) {
    return Failure{error.what(), error.user_error};
  } catch (const c10::ValueError& error) {
    return Failure{plain_message(error), true};
  } catch (const std::exception& error) {
    return Failure{plain_message(error), false};
  } catch (...) {
    return Failure{"an exception of an unknown type", false};
  }
  return std::nullopt;
}

}  // namespace

void agree(const Communicator& comm, const std::function<void()>& local) {
  const std::optional<Failure> failure = run(local);
  const int64_t none = comm.size();
  const int64_t first = comm.all_reduce(failure ? int64_t{comm.rank()} : none, Reduce::kMin);
  if (first == none) return;
  const bool mine = first == comm.rank();
  const std::string sent = mine ? (failure->user_error ? "u" : "o") + failure->message : "";
  const std::string text = comm.broadcast(sent, static_cast<int>(first));
  throw AgreedError(text.substr(1), mine, text[0] == 'u');
}

std::string plain_message(const std::exception& error) {
  const auto* libtorch = dynamic_cast<const c10::Error*>(&error);
  const std::string text = libtorch != nullptr ? libtorch->what_without_backtrace() : error.what();
  std::string line;
  bool gap = false;  // a line break was seen; it becomes a space if text follows
  for (const char c : text) {
    if (c == '\n' || c == '\r') {
      gap = true;
      continue;
    }
    if (gap && !line.empty() && line.back() != ' ' && c != ' ') line += ' ';
    gap = false;
    line += c;
  }
  return line;
}

}  // namespace temper
