// One rank's error becomes every rank's error.
#include "comm/agree.h"

#include <c10/util/Exception.h>
#include <unistd.h>

#include <sstream>
#include <utility>
#include <vector>

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

namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// The first lines that differ; "nothing" where one text is at its end.
std::pair<std::string, std::string> first_difference(const std::string& a, const std::string& b) {
  const std::vector<std::string> lines_a = lines_of(a), lines_b = lines_of(b);
  const auto line = [](const std::vector<std::string>& lines, size_t at) {
    return at < lines.size() ? "'" + lines[at] + "'" : std::string("nothing");
  };
  size_t at = 0;
  while (at < lines_a.size() && at < lines_b.size() && lines_a[at] == lines_b[at]) ++at;
  return {line(lines_a, at), line(lines_b, at)};
}

}  // namespace

void agree_on(const Communicator& comm, const std::string& what, const std::string& mine,
              const std::string& remedy) {
  const std::string first = comm.broadcast(mine, 0);
  const bool differs = first != mine;
  const int64_t none = comm.size();
  const int64_t other = comm.all_reduce(differs ? int64_t{comm.rank()} : none, Reduce::kMin);
  if (other == none) return;
  const std::string theirs = comm.broadcast(mine, static_cast<int>(other));
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  const std::string first_host = comm.broadcast(host, 0);
  const std::string other_host = comm.broadcast(host, static_cast<int>(other));
  const auto [here, there] = first_difference(first, theirs);
  throw AgreedError("the ranks differ in " + what + ": rank 0 on " + first_host + " has " + here +
                        ", rank " + std::to_string(other) + " on " + other_host + " has " + there +
                        ": " + remedy,
                    comm.rank() == 0, /*is_user_error=*/true);
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
