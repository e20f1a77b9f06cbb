#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace wan {

enum class LogLevel { quiet, normal, verbose };

/// Writes lines to a console stream and, once opened, to a log file with time and rank. Safe to use from
/// several threads.
class Log {
 public:
  /// `rank` < 0 leaves the rank out. The console gets lines up to `level`, the file gets all.
  Log(int rank, LogLevel level, std::FILE* console);

  /// Appends to `path` from now on; throws Error, also when something is there that is no regular file.
  void open_file(const std::filesystem::path& path);

  /// Why the file ended, if the storage is at fault that it lies on; else empty.
  std::string storage_problem() const;

  template <typename... Args>
  void info(fmt::format_string<Args...> format, Args&&... args) {
    write(LogLevel::normal, "", fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void detail(fmt::format_string<Args...> format, Args&&... args) {
    write(LogLevel::verbose, "", fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void warn(fmt::format_string<Args...> format, Args&&... args) {
    write(LogLevel::quiet, "warning: ", fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void error(fmt::format_string<Args...> format, Args&&... args) {
    write(LogLevel::quiet, "error: ", fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  void write(LogLevel needed, std::string_view prefix, std::string_view message);

  int rank_;
  LogLevel level_;
  std::FILE* console_;
  void write_to_file(const std::string& line);

  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_{nullptr, nullptr};
  std::filesystem::path path_;
  std::string storage_problem_;
  mutable std::mutex mutex_;
};

}  // namespace wan
