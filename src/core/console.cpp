#include "core/console.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "core/check.h"

namespace wan {

void write_console(std::FILE* stream, std::string_view text) noexcept {
  std::fwrite(text.data(), 1, text.size(), stream);
  std::fflush(stream);
  // A failed write sets the stream's error flag. Without this call, later writes would fail at once.
  std::clearerr(stream);
}

void outlive_console() noexcept {
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor) {
    // open() returns the lowest free number, which is this one.
    if (::fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) {
      if (::open("/dev/null", O_RDWR) < 0) return;
    }
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGHUP, SIG_IGN);
}

void print_result(std::string_view text) {
  errno = 0;
  const bool is_written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (is_written && std::fflush(stdout) == 0) return;
  const int error = errno;
  std::clearerr(stdout);
  if (error != EPIPE) fail("cannot write to standard output: {}", std::strerror(error));
}

}  // namespace wan
