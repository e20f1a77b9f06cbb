#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "media/bytes.h"
#include "wan/error.h"
#include "wan/request.h"

namespace wan::media {

enum class ImageFormat { png, jpeg, webp, bmp };
std::string_view to_string(ImageFormat format);  ///< "PNG", "JPEG", "WebP", "BMP"

/// What an image file holds besides compressed pixels, read by us before any decoder sees a byte.
struct ImageContainer {
  ImageFormat format = ImageFormat::png;
  PixelSize stored_size;  ///< before the orientation is applied
  int orientation = 1;    ///< Exif, 1..8
  /// A file of the same format with only what the decoder needs for the colours: no metadata, profiles,
  /// thumbnails, transparency, further pictures or trailing bytes. Fewer parsers meet untrusted bytes, and a
  /// damaged comment spoils no picture.
  std::vector<std::uint8_t> picture;
};

/// A file that is no image we read, or a damaged one. The message goes on from "<path> ".
class ImageFormatError : public Error {
 public:
  using Error::Error;
};

/// Recognises the format by the first bytes and walks the whole file. Throws ImageFormatError when the bytes
/// are none of the four formats, end early, contradict themselves, or hold what we do not show (animation,
/// CMYK).
ImageContainer parse_image_container(ByteView file);

/// The part of it for JPEG (ITU T.81 Annex B).
ImageContainer parse_jpeg_container(ByteView file);

}  // namespace wan::media
