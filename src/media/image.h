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
  bool transparency_dropped = false;  ///< some pixels were not opaque; their colours are shown as stored
};

/// What an image file may ask for. Checked before anything of the file's stated size is allocated.
struct ImageLimits {
  std::uint64_t file_bytes = 1ULL << 30U;
  int side_pixels = 65'535;
  std::int64_t pixels = 178'956'970;  ///< as Pillow's limit
};

/// Reads a PNG, JPEG, WebP, BMP, GIF or TIFF file; the content tells the format, not the name. Of an
/// animation the first frame is read, of a TIFF file the first page. The pixels are those of Pillow's
/// convert("RGB"): lossless formats bit for bit, JPEG and lossy WebP within a few levels. CMYK files are
/// taken for Adobe's (inverted). 16-bit samples keep their high byte, transparency is dropped (not blended),
/// colour profiles are not applied. Peak memory is about twice the file, or the decoded picture and the
/// result. Throws ItemError (stage "image") naming the path and the reason: missing, not a regular file,
/// empty, no image, truncated, damaged, over a limit, more than 500 JPEG scans, or a decoder that the linked
/// FFmpeg lacks.
Image read_image(const std::filesystem::path& path, const ImageLimits& limits = {});

/// Width and height that read_image() would give, without decoding; the container is checked, the compressed
/// pixels are not. Throws ItemError as read_image() does.
PixelSize probe_image(const std::filesystem::path& path, const ImageLimits& limits = {});

}  // namespace wan::media
