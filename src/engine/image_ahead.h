#pragma once

#include <cstdint>
#include <filesystem>
#include <future>
#include <optional>

#include "media/image.h"

namespace wan::engine {

/// Decodes the image of the next request in a thread while the present one is made. For the rank that reads
/// images.
class ImageAhead {
 public:
  /// Begins to decode an image that is likely to be asked for next. Does nothing while the image before is
  /// still being decoded. Leaves an image so large that its memory could matter to take(). Touches no file
  /// itself, so it never waits for storage. Never throws.
  void begin(const std::filesystem::path& path) noexcept;
  /// The decoded image: the one that was begun, if it is that file and the file has not changed since; else
  /// it is read now. Throws ItemError.
  media::Image take(const std::filesystem::path& path);

  std::int64_t hits() const { return hits_; }  ///< images that were begun before they were asked for

 private:
  /// Marks of a file by which it is known to be still the same one.
  struct Stamp {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::uint64_t bytes = 0;
    std::int64_t changed_s = 0;
    std::int64_t changed_ns = 0;
    bool operator==(const Stamp&) const = default;
  };
  struct Decoded {
    Stamp stamp;  ///< before the file was read
    media::Image image;
  };
  /// Nothing for anything but a regular file.
  static std::optional<Stamp> stamp_of(const std::filesystem::path& path);
  /// Nothing for a file that take() is to read.
  static std::optional<Decoded> decode(const std::filesystem::path& path);

  std::filesystem::path path_;
  std::future<std::optional<Decoded>> decoding_;
  std::int64_t hits_ = 0;
};

}  // namespace wan::engine
