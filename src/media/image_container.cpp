#include "media/image_container.h"

#include <algorithm>

#include "core/check.h"

namespace wan::media {
namespace {

using namespace std::string_view_literals;

constexpr auto png_signature = "\x89PNG\r\n\x1a\n"sv;

/// Checks that all rows of an uncompressed BMP file are there, each padded to 4 bytes. The decoder would only
/// guess.
void require_bmp_rows(ByteView file, PixelSize size, std::uint32_t bits_per_pixel) {
  const std::uint64_t row_bytes =
      (std::uint64_t{bits_per_pixel} * static_cast<unsigned>(size.width) + 31) / 32 * 4;
  const std::uint64_t end = little32(file, 10) + row_bytes * static_cast<unsigned>(size.height);
  if (bits_per_pixel > 32 || file.size() < end) {
    fail<ImageFormatError>("is a truncated BMP file: {} of {} bytes are there", file.size(), end);
  }
}

/// BMP: a file header of 14 bytes, then one of several information headers, which differ in length. The
/// decoder gets the file unchanged.
ImageContainer parse_bmp(ByteView file) {
  constexpr std::size_t file_header_bytes = 14;
  constexpr std::size_t core_header_bytes = 12;
  constexpr std::size_t info_header_bytes = 40;
  constexpr std::uint32_t bit_fields = 3;
  if (file.size() < file_header_bytes + core_header_bytes) fail<ImageFormatError>("is a truncated BMP file");
  ImageContainer image{.format = ImageFormat::bmp, .stored_size = {}, .picture_size = {}, .picture = {}};
  if (little32(file, file_header_bytes) == core_header_bytes) {
    image.stored_size = {side_pixels(little16(file, 18)), side_pixels(little16(file, 20))};
    require_bmp_rows(file, image.stored_size, little16(file, 24));
  } else {
    if (file.size() < file_header_bytes + info_header_bytes)
      fail<ImageFormatError>("is a truncated BMP file");
    const std::uint32_t compression = little32(file, 30);
    if (compression != 0 && compression != bit_fields) {
      fail<ImageFormatError>("is a compressed BMP file; save it uncompressed or as PNG");
    }
    // A negative height stores the rows from top to bottom.
    const std::uint32_t height = little32(file, 22);
    image.stored_size = {side_pixels(little32(file, 18)),
                         side_pixels((height & 0x80000000U) != 0 ? 0U - height : height)};
    require_bmp_rows(file, image.stored_size, little16(file, 28));
  }
  require_size(image);
  image.picture_size = image.stored_size;
  return image;
}

std::string_view name_of_other_format(ByteView file) {
  if (has_text(file, 0, "II+\0"sv) || has_text(file, 0, "MM\0+"sv)) return "a BigTIFF file";
  if (has_text(file, 0, "version https://git-lfs")) {
    return "a Git LFS pointer, not the image itself (git lfs pull fetches it)";
  }
  if (has_text(file, 0, "<!DOCTYPE") || has_text(file, 0, "<!doctype") || has_text(file, 0, "<html")) {
    return "an HTML page";
  }
  if (has_text(file, 0, "<svg") || has_text(file, 0, "<?xml")) return "an SVG or XML file";
  if (has_text(file, 0, "8BPS")) return "a Photoshop file";
  if (has_text(file, 0, "\xFF\x0A") || has_text(file, 4, "JXL ")) return "a JPEG XL file";
  if (has_text(file, 4, "jP  ")) return "a JPEG 2000 file";
  if (has_text(file, 4, "ftypavif")) return "an AVIF file";
  if (has_text(file, 4, "ftyphe") || has_text(file, 4, "ftypmif1")) return "a HEIF file";
  if (has_text(file, 4, "ftyp")) return "a video file";
  if (has_text(file, 0, "%PDF")) return "a PDF file";
  return "not an image";
}

}  // namespace

std::string_view to_string(ImageFormat format) {
  switch (format) {
    case ImageFormat::png:
      return "PNG";
    case ImageFormat::jpeg:
      return "JPEG";
    case ImageFormat::webp:
      return "WebP";
    case ImageFormat::bmp:
      return "BMP";
    case ImageFormat::gif:
      return "GIF";
    case ImageFormat::tiff:
      return "TIFF";
  }
  return "unknown";
}

int side_pixels(std::uint32_t pixels) {
  constexpr std::uint32_t far_too_large = 1U << 30U;
  return static_cast<int>(std::min(pixels, far_too_large));
}

void require_size(const ImageContainer& image) {
  if (image.stored_size.width == 0 || image.stored_size.height == 0) {
    fail<ImageFormatError>("is a damaged {} file: width or height is 0", to_string(image.format));
  }
}

ImageContainer parse_image_container(std::vector<std::uint8_t> file) {
  if (file.empty()) fail<ImageFormatError>("is empty (0 bytes)");
  if (has_text(file, 0, png_signature)) return parse_png_container(file);
  if (has_text(file, 0, "\xFF\xD8\xFF")) return parse_jpeg_container(file);
  if (has_text(file, 0, "RIFF") && has_text(file, 8, "WEBP")) return parse_webp_container(file);
  if (has_text(file, 0, "GIF87a") || has_text(file, 0, "GIF89a")) return parse_gif_container(file);
  if (has_text(file, 0, "II*\0"sv) || has_text(file, 0, "MM\0*"sv))
    return parse_tiff_container(std::move(file));
  if (has_text(file, 0, "BM")) {
    ImageContainer image = parse_bmp(file);
    image.picture = std::move(file);
    return image;
  }
  fail<ImageFormatError>("is {}; PNG, JPEG, WebP, BMP, GIF and TIFF images are read",
                         name_of_other_format(file));
}

}  // namespace wan::media
