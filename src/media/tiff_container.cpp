#include <algorithm>
#include <array>
#include <string>

#include "core/check.h"
#include "media/exif.h"
#include "media/image_container.h"

namespace wan::media {
namespace {

// Tags of the image directory (TIFF 6.0, section 8).
constexpr std::uint32_t width_tag = 256;
constexpr std::uint32_t height_tag = 257;
constexpr std::uint32_t compression_tag = 259;
constexpr std::uint32_t strips_tag = 273;
constexpr std::uint32_t tile_width_tag = 322;
constexpr std::uint32_t extra_samples_tag = 338;
constexpr std::uint32_t sample_format_tag = 339;
constexpr std::uint32_t xmp_tag = 700;
/// The entries that the decoder needs for the colours: sizes, bits, compression with its options, photometric
/// interpretation, places of the strips, samples, planes, palette, chroma.
constexpr std::array<std::uint32_t, 17> colour_tags{256, 257, 258, 259, 262, 266, 273, 277, 278,
                                                    279, 284, 292, 293, 317, 320, 530, 531};

/// The compression's name. Empty for a compression that FFmpeg decodes.
std::string compression_problem(std::uint32_t compression) {
  constexpr std::array<std::uint32_t, 9> decoded{1, 2, 3, 4, 5, 8, 32773, 32946, 34925};
  if (std::ranges::find(decoded, compression) != decoded.end()) return {};
  switch (compression) {
    case 6:
    case 7:
      return "JPEG";
    case 34712:
      return "JPEG 2000";
    case 50000:
      return "Zstandard";
    case 50001:
      return "WebP";
    default:
      return fmt::format("unknown ({})", compression);
  }
}

void require_decodable(const TiffDirectory& directory) {
  if (const std::string problem = compression_problem(directory.number(compression_tag).value_or(1));
      !problem.empty()) {
    fail<ImageFormatError>("is a TIFF file with {} compression, which is not read; save it as PNG", problem);
  }
  constexpr std::uint32_t unsigned_integers = 1;
  if (directory.number(sample_format_tag).value_or(unsigned_integers) != unsigned_integers) {
    fail<ImageFormatError>(
        "is a TIFF file of signed or floating-point samples, which are not read; save it with 8 bits per "
        "sample");
  }
  if (directory.number(tile_width_tag)) {
    fail<ImageFormatError>("is a TIFF file in tiles, which are not read; save it in strips or as PNG");
  }
  if (directory.bytes(strips_tag).empty()) fail<ImageFormatError>("is a TIFF file without image data");
}

/// Removes the directory's other entries, and the pointer to the next directory.
void keep_colours_only(std::vector<std::uint8_t>& file, const TiffDirectory& directory) {
  std::size_t kept = 0;
  directory.for_each_entry([&](std::uint32_t tag, std::size_t entry) {
    if (std::ranges::find(colour_tags, tag) == colour_tags.end()) return;
    const auto from = file.begin() + static_cast<std::ptrdiff_t>(entry);
    const std::size_t to = directory.first_entry() + kept * TiffDirectory::entry_bytes;
    std::copy_n(from, TiffDirectory::entry_bytes, file.begin() + static_cast<std::ptrdiff_t>(to));
    ++kept;
  });
  const std::size_t end = directory.first_entry() + kept * TiffDirectory::entry_bytes;
  for (std::size_t at = end; at < std::min(end + 4, file.size()); ++at) file[at] = 0;
  const std::size_t count = directory.first_entry() - 2;
  // at most 17 kinds; later entries of the same kind are repetitions
  const auto low = static_cast<std::uint8_t>(kept);
  const auto high = static_cast<std::uint8_t>(kept >> 8U);
  file[count] = directory.is_little_endian() ? low : high;
  file[count + 1] = directory.is_little_endian() ? high : low;
}

}  // namespace

ImageContainer parse_tiff_container(std::vector<std::uint8_t> file) {
  const std::optional<TiffDirectory> directory = TiffDirectory::find(file);
  if (!directory) {
    fail<ImageFormatError>("is a damaged or truncated TIFF file: its directory is not inside its {} bytes",
                           file.size());
  }
  ImageContainer image{.format = ImageFormat::tiff, .stored_size = {}, .picture_size = {}, .picture = {}};
  image.stored_size = {side_pixels(directory->number(width_tag).value_or(0)),
                       side_pixels(directory->number(height_tag).value_or(0))};
  image.picture_size = image.stored_size;
  require_size(image);
  require_decodable(*directory);
  constexpr std::uint32_t associated_alpha = 1;
  image.is_premultiplied = directory->number(extra_samples_tag) == associated_alpha;
  OrientationTags orientation;
  orientation.add_exif(file);
  orientation.add_xmp(as_text(directory->bytes(xmp_tag)));
  image.orientation = orientation.value();
  keep_colours_only(file, *directory);
  image.picture = std::move(file);
  return image;
}

}  // namespace wan::media
