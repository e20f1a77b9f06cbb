#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "media/bytes.h"
#include "wan/error.h"
#include "wan/request.h"

namespace wan::media {

enum class ImageFormat { png, jpeg, webp, bmp, gif, tiff };
std::string_view to_string(ImageFormat format);  ///< "PNG", "JPEG", "WebP", "BMP", "GIF", "TIFF"

/// The inks of a CMYK JPEG file. They are inverted, as Adobe's programs write them; Pillow reads all files
/// so.
enum class Inks { none, cmyk, ycck };

/// The content of an image file besides its compressed pixels. Our own code reads it before any decoder sees
/// a byte.
struct ImageContainer {
  ImageFormat format = ImageFormat::png;
  PixelSize stored_size;  ///< before the orientation is applied
  int orientation = 1;    ///< Exif, 1..8
  /// Place of the decoded picture in the stored image. The picture fills the image, except when an
  /// animation's first frame is smaller than the animation.
  PixelSize picture_size;
  int left = 0;
  int top = 0;
  std::array<std::uint8_t, 3> background{};  ///< RGB around such a frame
  bool drops_transparency = false;           ///< `picture` lacks the file's transparency
  bool is_premultiplied = false;             ///< the file's colours are multiplied by alpha
  Inks inks = Inks::none;
  /// A file of the same format that contains only what the decoder needs for the colours. It has no metadata,
  /// profiles, thumbnails, transparency, further pictures or trailing bytes. So fewer parsers read untrusted
  /// bytes, and a damaged comment does not spoil the picture. A BMP file is copied whole; a TIFF file is
  /// copied except for its directory.
  std::vector<std::uint8_t> picture;
};

/// The file is damaged, or not an image that we read. The caller puts "<path> " before the message.
class ImageFormatError : public Error {
 public:
  using Error::Error;
};

/// Recognises the format by the first bytes and walks through the whole file. Throws ImageFormatError if the
/// format is unknown, the file ends early, contradicts itself, or needs a feature that no decoder here has.
ImageContainer parse_image_container(std::vector<std::uint8_t> file);

// The parsers of the formats.

/// PNG (W3C recommendation, section 5).
ImageContainer parse_png_container(ByteView file);
/// JPEG (ITU T.81, Annex B).
ImageContainer parse_jpeg_container(ByteView file);
/// WebP; the first frame of an animation.
ImageContainer parse_webp_container(ByteView file);
/// GIF 87a and 89a, the first frame.
ImageContainer parse_gif_container(ByteView file);
/// TIFF 6.0, the first directory.
ImageContainer parse_tiff_container(std::vector<std::uint8_t> file);

/// A side, as the file states it, as an int. A side larger than any image here becomes a large number, which
/// the limits refuse.
int side_pixels(std::uint32_t pixels);

/// Throws ImageFormatError if width or height is 0.
void require_size(const ImageContainer& image);

}  // namespace wan::media
