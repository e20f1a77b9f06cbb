// A library for LD_PRELOAD that makes writing slow, so that a test can end a program in the middle of it and
// see which thread writes. In the environment:
//
//   WAN_SLOW      PART|MILLISECONDS   each write to a file whose path holds PART lasts so long
//   WAN_SLOW_LOG  file that gets two lines for each such write: "begin THREAD SECONDS" and "end THREAD
//   SECONDS",
//                 seconds of the monotonic clock
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

namespace {

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nothing here sets the environment
  return value != nullptr ? value : "";
}

/// The file's path if it holds the part that the environment names; else false.
bool is_slow(int file, std::chrono::milliseconds& duration) {
  static const std::string rule = from_environment("WAN_SLOW");
  const std::size_t bar = rule.find('|');
  if (bar == std::string::npos) return false;
  std::array<char, 4096> path{};
  const std::string link = "/proc/self/fd/" + std::to_string(file);
  if (::readlink(link.c_str(), path.data(), path.size() - 1) < 0) return false;
  duration = std::chrono::milliseconds(std::strtol(rule.c_str() + bar + 1, nullptr, 10));
  return std::string(path.data()).find(rule.substr(0, bar)) != std::string::npos;
}

void note(const char* what) {
  static const std::string log = from_environment("WAN_SLOW_LOG");
  if (log.empty()) return;
  static const int file = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  std::array<char, 100> line{};
  const int length = std::snprintf(line.data(), line.size(), "%s %ld %.6f\n", what, ::syscall(SYS_gettid),
                                   std::chrono::duration<double>(now).count());
  ::syscall(SYS_write, file, line.data(), static_cast<std::size_t>(length));
}

/// Half of the bytes first, so that a kill in between tears the write.
template <typename Write>
ssize_t slowly(int file, std::size_t bytes, Write&& write) {
  std::chrono::milliseconds duration{};
  if (!is_slow(file, duration)) return write(std::size_t{0}, bytes);
  note("begin");
  std::this_thread::sleep_for(duration / 2);
  const std::size_t half = bytes / 2;
  ssize_t count = write(std::size_t{0}, half);
  std::this_thread::sleep_for(duration / 2);
  if (count == static_cast<ssize_t>(half)) {
    const ssize_t rest = write(half, bytes - half);
    count = rest < 0 ? rest : count + rest;
  }
  note("end");
  return count;
}

}  // namespace

extern "C" {

ssize_t write(int file, const void* data, size_t bytes) {
  return slowly(file, bytes, [&](std::size_t from, std::size_t count) {
    return ::syscall(SYS_write, file, static_cast<const char*>(data) + from, count);
  });
}

ssize_t pwrite(int file, const void* data, size_t bytes, off_t offset) {
  return slowly(file, bytes, [&](std::size_t from, std::size_t count) {
    return ::syscall(SYS_pwrite64, file, static_cast<const char*>(data) + from, count,
                     offset + static_cast<off_t>(from));
  });
}

ssize_t pwrite64(int file, const void* data, size_t bytes, off_t offset) {
  return pwrite(file, data, bytes, offset);
}

}  // extern "C"
