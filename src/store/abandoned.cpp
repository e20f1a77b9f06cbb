#include "store/abandoned.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>

#include "core/strings.h"
#include "store/claims.h"

namespace wan::store {
namespace {

/// The time when a file was last written to, by its file system's clock; nothing unless it is a regular file.
std::optional<std::chrono::nanoseconds> time_of_change(const std::filesystem::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return std::chrono::seconds(status.st_mtim.tv_sec) + std::chrono::nanoseconds(status.st_mtim.tv_nsec);
}

/// An owner that beats writes to its file. An owner that died before its first beat left the file empty.
/// After a day of silence the file is removed whatever it says, for example if its node crashed.
bool is_abandoned_owner(const std::filesystem::path& path, std::chrono::nanoseconds silence,
                        std::chrono::milliseconds age) {
  constexpr auto longest = std::chrono::hours(24);
  return silence >= std::max<std::chrono::nanoseconds>(longest, age) ||
         (silence >= age && plain_file_size(path) == 0);
}

}  // namespace

void remove_abandoned(const OutputFolder& folder, const std::filesystem::path& newest,
                      std::chrono::milliseconds age) {
  const auto now = time_of_change(newest);
  if (!now) return;
  const std::string owner_prefix = owner_file({}, "").string();
  const auto is_owner_name = [&](const std::string& name) {
    return name.starts_with(owner_prefix) && is_token(std::string_view(name).substr(owner_prefix.size()));
  };
  for (const std::filesystem::path& place : {folder.claims(), folder.states(), folder.path()}) {
    std::error_code error;
    std::filesystem::directory_iterator entries(place, error);
    for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
      const std::filesystem::path& path = entries->path();
      const std::string name = path.filename().string();
      if (!name.starts_with('.')) continue;
      const auto written = time_of_change(path);
      if (!written) continue;
      const auto silence = *now - *written;
      const auto token = token_in(name);
      const bool is_unfinished =
          token && silence >= age && !std::filesystem::exists(owner_file(folder.claims(), *token));
      const bool is_owner = place == folder.claims() && is_owner_name(name);
      if (is_unfinished || (is_owner && is_abandoned_owner(path, silence, age))) ::unlink(path.c_str());
    }
  }
}

}  // namespace wan::store
