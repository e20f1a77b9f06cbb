#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "core/file.h"

namespace wan::checkpoint {

/// A file stored in a zip archive, uncompressed.
struct ZipMember {
  std::uint64_t local_header_byte = 0;  ///< from the archive's beginning
  std::uint64_t size_bytes = 0;
};

/// The files of a zip archive, Zip64 included, by name. Reads the central directory only. Throws UsageError
/// for anything but a plain single-disk archive of stored (method 0), unencrypted files with distinct names,
/// and for a directory of more than 64 MiB.
class ZipDirectory {
 public:
  ZipDirectory(const UniqueFd& file, const std::filesystem::path& path);

  const std::map<std::string, ZipMember, std::less<>>& members() const { return members_; }

  /// Where a member's bytes begin: behind its local header, which is checked against the directory. All its
  /// size_bytes are known to lie before the central directory. Throws UsageError.
  std::uint64_t payload_byte(const UniqueFd& file, const std::filesystem::path& path, const std::string& name,
                             const ZipMember& member) const;

 private:
  std::uint64_t directory_byte_ = 0;
  std::map<std::string, ZipMember, std::less<>> members_;
};

}  // namespace wan::checkpoint
