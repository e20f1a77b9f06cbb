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
  std::vector<std::uint8_t> rgb;      ///< [height, width, 3]
  bool transparency_dropped = false;  ///< some pixels were not opaque; the image has their colours as stored
};

/// Limits for an image file. They are checked before memory for the file's stated size is allocated.
struct ImageLimits {
  std::uint64_t file_bytes = 1ULL << 30U;
  int side_pixels = 65'535;
  std::int64_t pixels = 178'956'970;  ///< as Pillow's limit
};

/// Reads a PNG, JPEG, WebP, BMP, GIF or TIFF file. The content decides the format, not the name. Reads the
/// first frame of an animation and the first page of a TIFF file.
///
/// The pixels are those of Pillow's convert("RGB"): bit for bit for lossless formats, within a few levels for
/// JPEG and lossy WebP. CMYK files are read as Adobe's (inverted). 16-bit samples keep their high byte.
/// Transparency is dropped (not blended). Colour profiles are not applied. Peak memory is about twice the
/// file, or the decoded picture and the result.
///
/// Throws ItemError (stage "image") with the path and the reason: missing, not a regular file, empty, no
/// image, truncated, damaged, over a limit, more than 500 JPEG scans, or a decoder that the linked FFmpeg
/// lacks.
Image read_image(const std::filesystem::path& path, const ImageLimits& limits = {});

/// Width and height that read_image() would return, without decoding. Checks the container but not the
/// compressed pixels. Throws ItemError as read_image() does.
PixelSize probe_image(const std::filesystem::path& path, const ImageLimits& limits = {});

}  // namespace wan::media
