#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "media/bytes.h"

namespace wan::media {

/// The first image directory of a TIFF file, or of an Exif block, which has the same form.
class TiffDirectory {
 public:
  /// Returns nothing unless `tiff` begins with a TIFF header ("II*\0" or "MM\0*") that points to a directory
  /// inside it.
  static std::optional<TiffDirectory> find(ByteView tiff);

  /// The first value of an entry of whole numbers (except BYTE, as in Pillow). Nothing if there is no such
  /// entry.
  std::optional<std::uint32_t> number(std::uint32_t tag) const;

  /// Calls `visit(tag, entry)` with the position of each 12-byte entry, in their order.
  template <typename Visit>
  void for_each_entry(Visit visit) const {
    for (std::size_t i = 0; i < entries_; ++i) {
      const std::size_t entry = first_entry_ + i * entry_bytes;
      visit(read16(entry), entry);
    }
  }
  static constexpr std::size_t entry_bytes = 12;

  bool is_little_endian() const { return little_; }
  std::size_t first_entry() const {
    return first_entry_;
  }  ///< position of the first entry; the count is in the two bytes before it
  std::size_t entries() const { return entries_; }

  /// The values of an entry as bytes. Empty if there is no such entry or its values are not inside `tiff`.
  ByteView bytes(std::uint32_t tag) const;

 private:
  TiffDirectory(ByteView tiff, bool little, std::size_t first_entry, std::size_t entries)
      : tiff_(tiff), little_(little), first_entry_(first_entry), entries_(entries) {}
  std::uint32_t read16(std::size_t at) const { return little_ ? little16(tiff_, at) : big16(tiff_, at); }
  std::uint32_t read32(std::size_t at) const { return little_ ? little32(tiff_, at) : big32(tiff_, at); }
  std::optional<std::size_t> find_entry(std::uint32_t tag) const;

  ByteView tiff_;
  bool little_;
  std::size_t first_entry_;  ///< byte offset
  std::size_t entries_;      ///< number of entries inside the view
};

/// Collects the tags by which a file says how its picture must be turned, and decides between them as
/// Pillow's ImageOps.exif_transpose() does: Exif decides; XMP decides if Exif has no such tag.
class OrientationTags {
 public:
  /// Adds a block that begins at the TIFF header, or with one or two "Exif\0\0" before it. Only the first
  /// block counts.
  void add_exif(ByteView block);

  /// Adds an XMP packet (XML text). The last packet counts.
  void add_xmp(std::string_view packet);

  bool has_exif() const { return has_exif_; }

  /// 1..8. Returns 1 if no tag was found or its value is out of range: such a picture is shown as stored.
  int value() const;

 private:
  bool has_exif_ = false;
  std::optional<std::uint32_t> exif_;
  std::optional<std::uint32_t> xmp_;
};

/// The bytes as text.
inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace wan::media
