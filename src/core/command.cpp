#include "core/command.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <thread>

#include "core/clock.h"
#include "core/file.h"

extern char** environ;  // NOLINT(readability-redundant-declaration): POSIX leaves it to the program

namespace wan {
namespace {

constexpr std::size_t most_bytes = 64 << 10;

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

std::optional<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
  return Pipe{.read_end = UniqueFd(ends[0]), .write_end = UniqueFd(ends[1])};
}

/// Owns the file actions and attributes of posix_spawn.
class SpawnSettings {
 public:
  SpawnSettings() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  SpawnSettings(SpawnSettings&&) = delete;
  SpawnSettings& operator=(SpawnSettings&&) = delete;
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }

  /// Returns the process, or nothing if it could not be started.
  std::optional<pid_t> spawn(const std::vector<std::string>& words, const UniqueFd& output) {
    sigset_t none;
    sigemptyset(&none);  // this program may have blocked signals that the other one needs
    const bool is_set =
        ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0) == 0 &&
        ::posix_spawn_file_actions_adddup2(&actions_, output.get(), STDOUT_FILENO) == 0 &&
        ::posix_spawn_file_actions_addopen(&actions_, STDERR_FILENO, "/dev/null", O_WRONLY, 0) == 0 &&
        ::posix_spawnattr_setsigmask(&attributes_, &none) == 0 &&
        ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK) == 0;
    if (!is_set) return std::nullopt;
    std::vector<std::string> copies = words;
    std::vector<char*> arguments;
    for (std::string& word : copies) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_t child = 0;
    if (::posix_spawnp(&child, arguments.front(), &actions_, &attributes_, arguments.data(), environ) != 0) {
      return std::nullopt;
    }
    return child;
  }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

/// Reads until the other end is closed. Returns nothing if that takes longer than `timeout_s` or there are
/// too many bytes.
std::optional<std::string> read_in_time(const UniqueFd& from, double timeout_s) {
  const Stopwatch watch;
  std::string text;
  std::array<char, 4096> piece{};
  while (true) {
    const double left_s = timeout_s - watch.elapsed_s();
    if (left_s <= 0 || text.size() > most_bytes) return std::nullopt;
    pollfd waiting{.fd = from.get(), .events = POLLIN, .revents = 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(1000 * left_s) + 1);
    if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
    if (ready < 0) return std::nullopt;
    const ssize_t count = ::read(from.get(), piece.data(), piece.size());
    if (count == 0) return text;
    if (count < 0 && errno != EINTR) return std::nullopt;
    text.append(piece.data(), static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
  }
}

/// Whether the process ends with code 0 within `timeout_s`. Kills it after that.
bool wait_for(pid_t child, double timeout_s) {
  constexpr std::chrono::milliseconds nap{2};
  const Stopwatch watch;
  int status = 0;
  while (true) {
    const bool is_late = watch.elapsed_s() >= timeout_s;
    if (is_late) ::kill(child, SIGKILL);
    const pid_t ended = ::waitpid(child, &status, is_late ? 0 : WNOHANG);
    if (ended < 0 && errno != EINTR) return false;
    if (ended == child) return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    std::this_thread::sleep_for(nap);
  }
}

}  // namespace

std::optional<std::string> output_of_command(const std::vector<std::string>& words, double timeout_s) {
  if (words.empty()) return std::nullopt;
  auto pipe = make_pipe();
  if (!pipe) return std::nullopt;
  const auto child = SpawnSettings().spawn(words, pipe->write_end);
  pipe->write_end = UniqueFd();
  if (!child) return std::nullopt;
  const Stopwatch watch;
  auto output = read_in_time(pipe->read_end, timeout_s);
  const bool is_good = wait_for(*child, output ? timeout_s - watch.elapsed_s() : 0);
  return is_good ? output : std::nullopt;
}

}  // namespace wan
