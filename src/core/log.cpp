#include "core/log.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "core/check.h"
#include "core/console.h"
#include "core/file.h"

namespace wan {
namespace {

std::string local_time_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  std::array<char, 32> text{};
  const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts);
  return {text.data(), length};
}

}  // namespace

Log::Log(int rank, LogLevel level, std::FILE* console) : rank_(rank), level_(level), console_(console) {}

void Log::open_file(const std::filesystem::path& path) {
  // The folder may hold anything: a link would lead elsewhere, and opening a pipe would wait for its reader.
  UniqueFd descriptor(
      ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666));
  const int error = errno;
  struct stat status {};
  if (!descriptor && error != ELOOP && error != ENXIO) {
    fail("cannot open the log {}: {}", path.string(), std::strerror(error));
  }
  if (!descriptor || ::fstat(descriptor.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    fail("cannot open the log {}: it is no regular file; remove it", path.string());
  }
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(::fdopen(descriptor.get(), "a"), std::fclose);
  if (!file) fail("cannot open the log {}: {}", path.string(), std::strerror(errno));
  descriptor.release();
  file_ = std::move(file);
}

void Log::write(LogLevel needed, std::string_view prefix, std::string_view message) {
  const std::scoped_lock lock(mutex_);
  if (console_ != nullptr && needed <= level_) {
    write_console(console_, fmt::format("{}{}\n", prefix, message));
  }
  if (file_) {
    const std::string who = rank_ < 0 ? std::string() : fmt::format(" [rank {}]", rank_);
    // A disk that is full ends the run where a result cannot be written, not here.
    write_console(file_.get(), fmt::format("{}{} {}{}\n", local_time_now(), who, prefix, message));
  }
}

}  // namespace wan
