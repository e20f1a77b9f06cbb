#include "display/terminal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "core/file.h"

namespace wan::display {
namespace {

namespace fs = std::filesystem;

constexpr int most_launchers = 4;  // between a rank and the terminal: mpiexec, its proxy, ...
constexpr int most_ancestors = 8;  // between a rank and its launcher: env, numactl, a script, ...

std::optional<Terminal> own_terminal(int file) {
  if (::isatty(file) != 1) return std::nullopt;
  Terminal terminal;
  winsize size{};
  if (::ioctl(file, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) terminal.columns = size.ws_col;
  return terminal;
}

/// "pipe:[12345]"; empty if the descriptor is no pipe, or may not be read.
std::string pipe_name(const fs::path& descriptor) {
  std::error_code error;
  std::string name = fs::read_symlink(descriptor, error).string();
  return !error && name.starts_with("pipe:") ? name : std::string();
}

bool is_launcher(std::int64_t process) {
  constexpr std::array<std::string_view, 6> names{"mpirun", "mpiexec", "orte", "prte", "prun", "hydra_"};
  std::ifstream file(fmt::format("/proc/{}/comm", process));
  std::string name;
  std::getline(file, name);
  return std::ranges::any_of(names, [&](std::string_view known) { return name.starts_with(known); });
}

/// 0 if the parent is unknown.
std::int64_t parent_of(std::int64_t process) {
  std::ifstream file(fmt::format("/proc/{}/status", process));
  for (std::string line; std::getline(file, line);) {
    constexpr std::string_view key = "PPid:";
    if (line.starts_with(key)) return std::strtoll(line.c_str() + key.size(), nullptr, 10);
  }
  return 0;
}

/// Whether the process has the pipe open for reading.
bool reads(std::int64_t process, const std::string& pipe) {
  std::error_code error;
  const fs::path folder = fmt::format("/proc/{}/fd", process);
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (pipe_name(entry->path()) != pipe) continue;
    std::ifstream info(fmt::format("/proc/{}/fdinfo/{}", process, entry->path().filename().string()));
    for (std::string line; std::getline(info, line);) {
      constexpr std::string_view key = "flags:";
      if (line.starts_with(key))
        return (std::strtol(line.c_str() + key.size(), nullptr, 8) & O_ACCMODE) == O_RDONLY;
    }
  }
  return false;
}

/// The launcher above `process` that reads the pipe; 0 if there is none.
std::int64_t reader_above(std::int64_t process, const std::string& pipe) {
  for (int i = 0; i < most_ancestors; ++i) {
    process = parent_of(process);
    if (process <= 0) return 0;
    if (is_launcher(process)) return reads(process, pipe) ? process : 0;
  }
  return 0;
}

}  // namespace

std::optional<Terminal> terminal_behind(std::FILE* stream) {
  const int file = ::fileno(stream);
  if (file < 0) return std::nullopt;
  if (const auto terminal = own_terminal(file)) return terminal;
  std::int64_t process = ::getpid();
  std::string pipe = pipe_name(fmt::format("/proc/self/fd/{}", file));
  for (int i = 0; i < most_launchers && !pipe.empty(); ++i) {
    process = reader_above(process, pipe);
    if (process == 0) return std::nullopt;
    // The launcher copies its ranks' standard error to its own.
    const std::string error_stream = fmt::format("/proc/{}/fd/2", process);
    const UniqueFd opened(::open(error_stream.c_str(), O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
    if (opened) {
      if (const auto terminal = own_terminal(opened.get())) return terminal;
    }
    pipe = pipe_name(error_stream);
  }
  return std::nullopt;
}

bool understands_escapes() {
  const char* name = std::getenv("TERM");  // NOLINT(concurrency-mt-unsafe): nobody sets it meanwhile
  return name != nullptr && *name != '\0' && std::string_view(name) != "dumb";
}

}  // namespace wan::display
