#include "media/exif.h"

#include <algorithm>
#include <array>

namespace wan::media {
namespace {

using namespace std::string_view_literals;

constexpr std::uint32_t orientation_tag = 0x0112;
constexpr std::size_t header_bytes = 8;

// Types of entries (TIFF 6.0, section 2).
constexpr std::uint32_t short_type = 3;
constexpr std::uint32_t long_type = 4;
constexpr std::uint32_t signed_short_type = 8;
constexpr std::uint32_t signed_long_type = 9;
constexpr std::uint32_t directory_type = 13;
constexpr std::array<std::size_t, 14> type_bytes{0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4};

}  // namespace

std::optional<TiffDirectory> TiffDirectory::find(ByteView tiff) {
  const bool little = has_text(tiff, 0, "II*\0"sv);
  if ((!little && !has_text(tiff, 0, "MM\0*"sv)) || tiff.size() < header_bytes) return std::nullopt;
  const std::size_t directory = little ? little32(tiff, 4) : big32(tiff, 4);
  if (directory > tiff.size() || tiff.size() - directory < 2) return std::nullopt;
  const std::size_t stated = little ? little16(tiff, directory) : big16(tiff, directory);
  const std::size_t inside = (tiff.size() - directory - 2) / entry_bytes;
  return TiffDirectory(tiff, little, directory + 2, std::min(stated, inside));
}

std::optional<std::size_t> TiffDirectory::find_entry(std::uint32_t tag) const {
  for (std::size_t i = 0; i < entries_; ++i) {
    const std::size_t entry = first_entry_ + i * entry_bytes;
    if (read16(entry) == tag) return entry;
  }
  return std::nullopt;
}

ByteView TiffDirectory::bytes(std::uint32_t tag) const {
  const std::optional<std::size_t> entry = find_entry(tag);
  if (!entry) return {};
  const std::uint32_t type = read16(*entry + 2);
  if (type >= type_bytes.size()) return {};
  const std::uint64_t size = std::uint64_t{read32(*entry + 4)} * type_bytes.at(type);
  const std::size_t begin = size <= 4 ? *entry + 8 : read32(*entry + 8);
  if (begin > tiff_.size() || tiff_.size() - begin < size) return {};
  return tiff_.subspan(begin, size);
}

std::optional<std::uint32_t> TiffDirectory::number(std::uint32_t tag) const {
  const ByteView value = bytes(tag);
  if (value.empty()) return std::nullopt;
  const auto at = static_cast<std::size_t>(value.data() - tiff_.data());
  switch (read16(*find_entry(tag) + 2)) {
    case short_type:
    case signed_short_type:
      return read16(at);
    case long_type:
    case signed_long_type:
    case directory_type:
      return read32(at);
    default:
      return std::nullopt;
  }
}

void OrientationTags::add_exif(ByteView block) {
  constexpr auto prefix = "Exif\0\0"sv;
  if (has_exif_) return;
  has_exif_ = true;
  for (int i = 0; i < 2 && has_text(block, 0, prefix); ++i) block = block.subspan(prefix.size());
  if (const auto directory = TiffDirectory::find(block)) exif_ = directory->number(orientation_tag);
}

void OrientationTags::add_xmp(std::string_view packet) {
  constexpr auto name = "tiff:Orientation"sv;
  xmp_.reset();
  for (std::size_t at = packet.find(name); at != std::string_view::npos; at = packet.find(name, at + 1)) {
    std::string_view rest = packet.substr(at + name.size());
    const std::size_t opening = rest.starts_with("=\"") ? 2 : rest.starts_with('>') ? 1 : 0;
    rest.remove_prefix(opening);
    if (opening == 0 || rest.empty() || rest.front() < '0' || rest.front() > '9') continue;
    xmp_ = static_cast<std::uint32_t>(rest.front() - '0');
    return;
  }
}

int OrientationTags::value() const {
  const std::uint32_t value = exif_.value_or(xmp_.value_or(1));
  return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
}

}  // namespace wan::media
