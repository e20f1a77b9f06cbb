#include "core/log.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>

#include "core/check.h"
#include "core/console.h"
#include "core/file.h"
#include "core/printable.h"

namespace wan {
namespace {

/// UTC, "2026-11-28T19:20:30.123Z". The records use the same format. Lines of several machines can be put in
/// order.
std::string utc_time_now() {
  const auto now = std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:03}Z", std::string_view(text.data(), length),
                     now.time_since_epoch().count() % 1000);
}

}  // namespace

Log::Log(int rank, LogLevel level, std::FILE* console) : rank_(rank), level_(level), console_(console) {}

void Log::open_file(const std::filesystem::path& path) {
  // Anyone may have put something at `path`. The flags refuse a link, which would lead elsewhere, and do not
  // wait at a pipe for its reader.
  UniqueFd descriptor(
      ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666));
  const int error = errno;
  struct stat status {};
  if (!descriptor && error != ELOOP && error != ENXIO) {
    fail("cannot open the log {}: {}", path.string(), std::strerror(error));
  }
  if (!descriptor || ::fstat(descriptor.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    fail("cannot open the log {}: it is not a regular file; remove it", path.string());
  }
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(::fdopen(descriptor.get(), "a"), std::fclose);
  if (!file) fail("cannot open the log {}: {}", path.string(), std::strerror(errno));
  descriptor.release();
  const std::scoped_lock lock(mutex_);
  file_ = std::move(file);
  path_ = path;
}

void Log::write(LogLevel needed, std::string_view prefix, std::string_view message) {
  // Paths and prompts in the message are untrusted.
  const std::string shown = printable(message, std::string_view::npos);
  const std::scoped_lock lock(mutex_);
  if (console_ != nullptr && needed <= level_) {
    write_console(console_, fmt::format("{}{}\n", prefix, shown));
  }
  if (file_) {
    const std::string who = rank_ < 0 ? std::string() : fmt::format(" [rank {}]", rank_);
    write_to_file(fmt::format("{}{} {}{}\n", utc_time_now(), who, prefix, shown));
  }
}

/// Call it with the mutex held. If a write fails, the log file ends. The run's leader asks for the reason
/// later (storage_problem).
void Log::write_to_file(const std::string& line) {
  const bool is_written =
      std::fwrite(line.data(), 1, line.size(), file_.get()) == line.size() && std::fflush(file_.get()) == 0;
  if (is_written) return;
  const int error = errno;
  const std::string problem =
      fmt::format("cannot write the log {}: {}", path_.string(), std::strerror(error));
  if (is_storage_errno(error)) storage_problem_ = problem;
  file_.reset();
  if (console_ != nullptr) {
    write_console(console_, fmt::format("warning: {}; the log file ends here\n", problem));
  }
}

std::string Log::storage_problem() const {
  const std::scoped_lock lock(mutex_);
  return storage_problem_;
}

}  // namespace wan
