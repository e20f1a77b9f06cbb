#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "core/file.h"

namespace wan::checkpoint {

/// A file that a zip archive stores uncompressed.
struct ZipMember {
  std::uint64_t local_header_byte = 0;  ///< counted from the archive's beginning
  std::uint64_t size_bytes = 0;
};

/// The files of a zip archive, Zip64 included, by name. Reads only the central directory. Accepts plain
/// single-disk archives of stored (method 0), unencrypted files with distinct names, and directories up to 64
/// MiB. Throws UsageError for any other archive.
class ZipDirectory {
 public:
  ZipDirectory(const UniqueFd& file, const std::filesystem::path& path);

  const std::map<std::string, ZipMember, std::less<>>& members() const { return members_; }

  /// Where a member's bytes begin: after its local header, which is compared with the directory. All
  /// size_bytes bytes were checked to lie before the central directory. Throws UsageError.
  std::uint64_t payload_byte(const UniqueFd& file, const std::filesystem::path& path, const std::string& name,
                             const ZipMember& member) const;

 private:
  std::uint64_t directory_byte_ = 0;
  std::map<std::string, ZipMember, std::less<>> members_;
};

}  // namespace wan::checkpoint
