#include "core/stop_signals.h"

#include <poll.h>
#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>

#include "core/check.h"

namespace wan {

StopSignals::StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  sigaddset(&signals, SIGTERM);
  if (const int code = ::pthread_sigmask(SIG_BLOCK, &signals, nullptr); code != 0) {
    fail("cannot block SIGUSR1 and SIGTERM: {}", std::strerror(code));
  }
  descriptor_ = UniqueFd(::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!descriptor_) fail("signalfd() failed: {}", std::strerror(errno));
}

bool StopSignals::have_come() {
  signalfd_siginfo info{};
  while (::read(descriptor_.get(), &info, sizeof info) == sizeof info) {
    has_come_ = true;
    if (name_.empty()) name_ = info.ssi_signo == SIGUSR1 ? "SIGUSR1" : "SIGTERM";
  }
  return !name_.empty();
}

bool StopSignals::are_pending() const {
  pollfd waiting{.fd = descriptor_.get(), .events = POLLIN, .revents = 0};
  return has_come_ || ::poll(&waiting, 1, 0) > 0;
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
