#include "core/place.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "core/printable.h"

namespace wan {
namespace {

std::string_view kind_of(mode_t mode) {
  if (S_ISREG(mode)) return "a regular file";
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISLNK(mode)) return "a symbolic link";
  if (S_ISFIFO(mode)) return "a named pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

std::string describe(const std::filesystem::path& path, std::string_view what, mode_t mode) {
  return fmt::format("{} is in the way of {}: it is {}; remove it", path.string(), what, kind_of(mode));
}

/// Why a path cannot be looked at. Empty if nothing is there yet, or if creating the file will show the
/// cause.
std::string unusable(const std::filesystem::path& path, std::string_view what, int error) {
  if (error != ENAMETOOLONG && error != ELOOP) return {};
  return fmt::format("{} cannot be used for {}: {}", printable(path.string(), 200), what,
                     std::strerror(error));
}

}  // namespace

std::string in_the_way_of_file(const std::filesystem::path& path, std::string_view what) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return unusable(path, what, errno);
  if (S_ISREG(status.st_mode)) return {};
  return describe(path, what, status.st_mode);
}

std::string in_the_way_of_folder(const std::filesystem::path& path, std::string_view what) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return unusable(path, what, errno);
  if (S_ISDIR(status.st_mode)) return {};
  return describe(path, what, status.st_mode);
}

}  // namespace wan
