#include "launch/stop_request.h"

#include <unistd.h>

#include <array>
#include <csignal>

namespace temper {

namespace {

constexpr std::array<int, 3> kSignals = {SIGUSR1, SIGTERM, SIGINT};
constexpr int kInterruptedCode = 128 + SIGINT;

// A handler has nowhere else to write to.
volatile std::sig_atomic_t first_signal = 0;
volatile std::sig_atomic_t interrupts = 0;

extern "C" void note_signal(int signal) {
  if (signal == SIGINT) interrupts = interrupts + 1;
  if (interrupts > 1) _exit(kInterruptedCode);
  if (first_signal == 0) first_signal = signal;
}

void set_action(int signal, void (*handler)(int)) {
  struct sigaction before {};
  sigaction(signal, nullptr, &before);
  if (signal == SIGINT && before.sa_handler == SIG_IGN) return;
  struct sigaction action {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;  // no read or write fails because of it
  sigaction(signal, &action, nullptr);
}

}  // namespace

void catch_stop_signals() {
  for (const int signal : kSignals) set_action(signal, note_signal);
}

void release_stop_signals() {
  for (const int signal : kSignals) set_action(signal, SIG_DFL);
  if (first_signal != 0) raise(first_signal);
}

bool asked_to_stop() { return first_signal != 0; }

std::string stop_signal() {
  switch (first_signal) {
    case SIGUSR1:
      return "SIGUSR1";
    case SIGTERM:
      return "SIGTERM";
    case SIGINT:
      return "SIGINT";
    default:
      return "";
  }
}

bool any_asked_to_stop(const Communicator& comm, bool stopped) {
  comm.barrier();
  return comm.all_reduce(static_cast<int64_t>(stopped || asked_to_stop()), Reduce::kMax) != 0;
}

}  // namespace temper
