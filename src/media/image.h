#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "wan/request.h"

namespace wan::media {

/// A picture as a viewer shows it: 8-bit sRGB, rows from top to bottom, Exif orientation applied.
struct Image {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgb;  ///< [height, width, 3]
};

/// What an image file may ask for. Checked before anything of the file's stated size is allocated.
struct ImageLimits {
  std::uint64_t file_bytes = 256ULL << 20U;
  int side_pixels = 16384;
  std::int64_t pixels = 100'000'000;
};

/// Reads a PNG, JPEG, WebP or BMP file; which one is told by its content, not its name. PNG, BMP and lossless
/// WebP are bit-exact; JPEG is within a few levels of libjpeg-turbo. 16-bit samples keep their high byte,
/// transparency is dropped (not blended), colour profiles are not applied. Throws ItemError (stage "image")
/// naming the path and the reason: missing, not a regular file, empty, no image, truncated, damaged, over a
/// limit, animated, CMYK.
Image read_image(const std::filesystem::path& path, const ImageLimits& limits = {});

/// Width and height that read_image() would give, without decoding; the container is checked, the compressed
/// pixels are not. Throws ItemError as read_image() does.
PixelSize probe_image(const std::filesystem::path& path, const ImageLimits& limits = {});

}  // namespace wan::media
