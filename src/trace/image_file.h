#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <vector>

#include "core/file.h"

namespace wan::trace {

/// A file that readers find whole at any moment, also after its writer was killed in the middle of a write.
///
/// There are two images of it on the disk. One has the file's name and is never written. publish() brings the
/// other one, which has a hidden name, up to date, and gives it the file's name by a rename; then they change
/// roles. Until publish() all writing is in memory: the pages that differ from an image.
///
/// The hidden image needs hard links. On a file system without them there is one image, which is written in
/// place, and a kill in the middle of publish() may leave it broken.
///
/// All members throw Error, or StorageError if the disk is at fault.
class ImageFile {
 public:
  /// Makes an empty file. Fails if something has its name or the hidden ones (.NAME.next, .NAME.last).
  explicit ImageFile(std::filesystem::path path);
  ImageFile(const ImageFile&) = delete;
  ImageFile& operator=(const ImageFile&) = delete;
  /// Removes the hidden image. Changes that were not published are lost.
  ~ImageFile();

  std::uint64_t size() const { return size_; }
  /// Bytes that are new are 0.
  void resize(std::uint64_t size);
  void write(std::uint64_t offset, std::span<const std::byte> bytes);
  /// Bytes beyond the end are 0.
  void read(std::uint64_t offset, std::span<std::byte> bytes) const;
  /// Brings all changes to the disk, under the file's name. Does not wait for the device.
  void publish();

 private:
  static constexpr std::size_t page_bytes = 4096;
  /// A page that is not on the disk yet, in one of the images or in both.
  struct Page {
    std::array<std::byte, page_bytes> bytes{};
    std::array<bool, 2> is_missing{};
  };
  struct Image {
    UniqueFd file;
    std::uint64_t size = 0;
  };

  Page& page(std::uint64_t index);
  void read_image(std::uint64_t offset, std::span<std::byte> bytes) const;
  void write_image(std::size_t which);
  void write_run(std::size_t which, std::uint64_t first, std::uint64_t end);
  bool swap_names();
  UniqueFd create(const std::filesystem::path& name) const;

  std::filesystem::path path_;
  std::array<std::filesystem::path, 2> hidden_;  ///< the first is in use
  std::array<Image, 2> images_;
  std::size_t published_ = 0;  ///< the image under the file's name
  bool has_two_ = true;
  std::uint64_t size_ = 0;
  std::map<std::uint64_t, Page> pages_;  ///< by index
};

}  // namespace wan::trace
