#include "media/exif.h"

#include <string_view>

#include "media/bytes.h"

namespace wan::media {
namespace {

constexpr std::uint32_t orientation_tag = 0x0112;
constexpr std::uint32_t short_type = 3;
constexpr std::size_t header_bytes = 8;
constexpr std::size_t entry_bytes = 12;

}  // namespace

std::optional<int> exif_orientation(ByteView tiff) {
  using namespace std::string_view_literals;
  const bool little = has_text(tiff, 0, "II*\0"sv);
  if ((!little && !has_text(tiff, 0, "MM\0*"sv)) || tiff.size() < header_bytes) return std::nullopt;
  const auto read16 = [&](std::size_t at) { return little ? little16(tiff, at) : big16(tiff, at); };
  const std::size_t directory = little ? little32(tiff, 4) : big32(tiff, 4);
  if (directory > tiff.size() || tiff.size() - directory < 2) return std::nullopt;
  const std::size_t entries = read16(directory);
  const std::size_t entries_inside = (tiff.size() - directory - 2) / entry_bytes;
  for (std::size_t i = 0; i < entries && i < entries_inside; ++i) {
    const std::size_t entry = directory + 2 + i * entry_bytes;
    if (read16(entry) != orientation_tag) continue;
    const std::uint32_t value = read16(entry + 8);
    if (read16(entry + 2) != short_type || value < 1 || value > 8) return std::nullopt;
    return static_cast<int>(value);
  }
  return std::nullopt;
}

}  // namespace wan::media
