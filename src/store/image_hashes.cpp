#include "store/image_hashes.h"

#include <sys/stat.h>

#include "core/checksum.h"
#include "wan/error.h"

namespace wan::store {
namespace {

constexpr std::uint64_t max_image_bytes = std::uint64_t{1} << 30;  // longer files are not images
constexpr std::int64_t ns_per_s = 1'000'000'000;

}  // namespace

std::optional<FileStamp> stamp_of(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return FileStamp{.bytes = static_cast<std::uint64_t>(status.st_size),
                   .modified_ns = status.st_mtim.tv_sec * ns_per_s + status.st_mtim.tv_nsec,
                   .inode = status.st_ino};
}

StampedHash ImageHashes::of(const std::filesystem::path& image, const std::optional<StampedHash>& recorded) {
  if (image.empty()) return {};
  const auto stamp = stamp_of(image);
  if (!stamp || stamp->bytes > max_image_bytes) return {};
  if (recorded && recorded->stamp == *stamp && !recorded->sha256.empty()) return *recorded;
  const auto found = known_.find(image);
  if (found != known_.end() && found->second.stamp == *stamp) return found->second;
  try {
    ++files_read_;
    // The stamp is from before the reading. If the file changes meanwhile, the next call reads it again.
    StampedHash hash{.sha256 = sha256_file_hex(image), .stamp = *stamp};
    known_.insert_or_assign(image, hash);
    return hash;
  } catch (const Error&) {
    return {};
  }
}

}  // namespace wan::store
