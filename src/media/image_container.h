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

/// The inks of a CMYK JPEG file, inverted as Adobe's programs write them (and as Pillow takes all of them).
enum class Inks { none, cmyk, ycck };

/// What an image file holds besides compressed pixels, read by us before any decoder sees a byte.
struct ImageContainer {
  ImageFormat format = ImageFormat::png;
  PixelSize stored_size;  ///< before the orientation is applied
  int orientation = 1;    ///< Exif, 1..8
  /// Where the decoded picture lies in the stored image. It fills the image, except for a first frame of an
  /// animation that is smaller than the animation.
  PixelSize picture_size;
  int left = 0;
  int top = 0;
  std::array<std::uint8_t, 3> background{};  ///< RGB around such a frame
  bool drops_transparency = false;           ///< `picture` is without the transparency of the file
  bool is_premultiplied = false;             ///< the colours were multiplied by alpha
  Inks inks = Inks::none;
  /// A file of the same format with only what the decoder needs for the colours: no metadata, profiles,
  /// thumbnails, transparency, further pictures or trailing bytes. Fewer parsers meet untrusted bytes, and a
  /// damaged comment spoils no picture. A BMP file is taken whole, a TIFF file but for its directory.
  std::vector<std::uint8_t> picture;
};

/// A file that is no image we read, or a damaged one. The message goes on from "<path> ".
class ImageFormatError : public Error {
 public:
  using Error::Error;
};

/// Recognises the format by the first bytes and walks the whole file. Throws ImageFormatError when the bytes
/// are none of the formats, end early, contradict themselves, or need what no decoder here can do.
ImageContainer parse_image_container(std::vector<std::uint8_t> file);

// The parts of it for one format each.

/// PNG (W3C recommendation, section 5).
ImageContainer parse_png_container(ByteView file);
/// JPEG (ITU T.81, Annex B).
ImageContainer parse_jpeg_container(ByteView file);
/// WebP; of an animation, its first frame.
ImageContainer parse_webp_container(ByteView file);
/// GIF 87a and 89a, the first frame.
ImageContainer parse_gif_container(ByteView file);
/// TIFF 6.0, the first directory.
ImageContainer parse_tiff_container(std::vector<std::uint8_t> file);

/// A side as the file states it, as an int; sides that no image here can have become a large one that the
/// limits refuse.
int side_pixels(std::uint32_t pixels);

/// Throws ImageFormatError if width or height is 0.
void require_size(const ImageContainer& image);

}  // namespace wan::media
