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

/// Writes lines to a console stream. Once a log file is open, it also writes them there, with time and rank.
/// Several threads may use it.
class Log {
 public:
  /// A negative `rank` is not printed. The console gets messages up to `level`; the file gets all.
  Log(int rank, LogLevel level, std::FILE* console);

  /// From now on, appends each line to the file at `path`. Throws Error, also if something else than a
  /// regular file is there.
  void open_file(const std::filesystem::path& path);

  /// The reason why the log file ended, if its storage is at fault; otherwise empty.
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
