#include "core/stop_signals.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

#include "core/check.h"
#include "wan/error.h"

namespace wan {
namespace {

sigset_t stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGUSR1, SIGTERM, SIGINT}) sigaddset(&signals, signal);
  return signals;
}

std::string_view name_of(int signal) {
  switch (signal) {
    case SIGUSR1:
      return "SIGUSR1";
    case SIGTERM:
      return "SIGTERM";
    case SIGINT:
      return "SIGINT";
    default:
      return {};
  }
}

/// Ends the process as SIGINT does where nobody catches it: shells and launchers see that.
[[noreturn]] void end_by_interrupt() {
  std::signal(SIGINT, SIG_DFL);
  sigset_t interrupt;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  ::pthread_sigmask(SIG_UNBLOCK, &interrupt, nullptr);
  std::raise(SIGINT);
  std::_Exit(static_cast<int>(ExitCode::failure));
}

[[noreturn]] void leave() { std::_Exit(static_cast<int>(ExitCode::stopped_early)); }

}  // namespace

StopLevel StopCount::take(int signal, double now_s) {
  if (level_ == StopLevel::none) {
    level_ = StopLevel::stop;
    first_s_ = now_s;
  } else if (signal != SIGUSR1 && now_s >= first_s_ + same_for_s_) {
    level_ = level_ == StopLevel::stop ? StopLevel::leave : StopLevel::exit;
  }
  return level_;
}

StopSignals::StopSignals(StopCount count) : count_(count) {
  const sigset_t signals = stop_signals();
  if (const int code = ::pthread_sigmask(SIG_BLOCK, &signals, nullptr); code != 0) {
    fail("cannot block SIGUSR1, SIGTERM and SIGINT: {}", std::strerror(code));
  }
  signals_ = UniqueFd(::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!signals_) fail("signalfd() failed: {}", std::strerror(errno));
  end_ = UniqueFd(::eventfd(0, EFD_CLOEXEC));
  if (!end_) fail("eventfd() failed: {}", std::strerror(errno));
  watching_ = std::jthread([this] { watch(); });
}

StopSignals::~StopSignals() {
  const std::uint64_t one = 1;
  while (::write(end_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void StopSignals::listen(Listener listener) {
  const std::scoped_lock lock(mutex_);
  listener_ = std::move(listener);
  if (first_ != 0) tell(StopLevel::stop, first_);
}

std::string_view StopSignals::name() const { return name_of(first_); }

/// The watching thread.
void StopSignals::watch() {
  std::array<pollfd, 2> waiting{pollfd{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                                pollfd{.fd = end_.get(), .events = POLLIN, .revents = 0}};
  while (true) {
    if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) return;
    if (waiting[1].revents != 0) return;
    signalfd_siginfo info{};
    while (::read(signals_.get(), &info, sizeof info) == sizeof info) take(static_cast<int>(info.ssi_signo));
  }
}

void StopSignals::take(int signal) {
  const std::scoped_lock lock(mutex_);
  if (signal == SIGINT && !listener_) end_by_interrupt();
  const bool is_first = first_ == 0;
  const StopLevel level = count_.take(signal, clock_.elapsed_s());
  if (is_first) first_ = signal;
  if (level == StopLevel::exit || (level == StopLevel::leave && !listener_)) leave();
  if (is_first || level == StopLevel::leave) tell(level, signal);
}

void StopSignals::tell(StopLevel level, int signal) {
  if (!listener_) return;
  const std::size_t place = level == StopLevel::leave ? 1 : 0;
  telling_.at(place) = std::jthread([listener = listener_, level, signal] {
    listener(level, name_of(signal));
    if (level == StopLevel::leave) leave();
  });
}

double process_age_s() {
  std::ifstream file("/proc/self/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  // The second field, the program's name, may hold blanks and parentheses. The start time is the 20th field
  // after it.
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  for (int i = 0; i < 20; ++i) fields >> field;
  timespec now{};
  const long ticks_per_s = ::sysconf(_SC_CLK_TCK);
  if (!fields || ticks_per_s <= 0 || ::clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0;
  const double start_s = std::strtod(field.c_str(), nullptr) / static_cast<double>(ticks_per_s);
  return std::max(0.0, static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) - start_s);
}

}  // namespace wan
