#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace wan::store {

/// Shows without a reading that a file is still the same.
struct FileStamp {
  std::uint64_t bytes = 0;
  std::int64_t modified_ns = 0;  ///< since 1970
  std::uint64_t inode = 0;
  bool operator==(const FileStamp&) const = default;
};

/// Nothing unless `path` leads to a regular file.
std::optional<FileStamp> stamp_of(const std::filesystem::path& path);

/// A file's checksum, and the stamp that the file had then.
struct StampedHash {
  std::string sha256;
  FileStamp stamp;
};

/// Checksums of images. Computes one again only when the file's size, time of change or inode has changed.
/// For one thread.
class ImageHashes {
 public:
  /// Returns an empty hash if there is no image or it cannot be read. `recorded` comes from a record of that
  /// image, and is believed if the stamp is still the same.
  StampedHash of(const std::filesystem::path& image, const std::optional<StampedHash>& recorded);

  /// How often a file was read.
  std::int64_t files_read() const { return files_read_; }

 private:
  std::map<std::filesystem::path, StampedHash> known_;
  std::int64_t files_read_ = 0;
};

}  // namespace wan::store
