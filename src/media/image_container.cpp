#include "media/image_container.h"

#include <algorithm>
#include <optional>

#include "core/check.h"
#include "media/exif.h"

namespace wan::media {
namespace {

using namespace std::string_view_literals;

constexpr auto png_signature = "\x89PNG\r\n\x1a\n"sv;
constexpr std::size_t png_chunk_overhead_bytes = 12;  // length, type, CRC
constexpr std::size_t riff_header_bytes = 12;
constexpr std::size_t riff_chunk_header_bytes = 8;

void append(std::vector<std::uint8_t>& to, ByteView bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void append_little32(std::vector<std::uint8_t>& to, std::size_t value) {
  for (unsigned shift = 0; shift < 32; shift += 8) to.push_back(static_cast<std::uint8_t>(value >> shift));
}

/// A side as the file states it, as an int; sides no image of ours can have become a large one that the
/// limits refuse.
int side(std::uint32_t pixels) {
  constexpr std::uint32_t far_too_large = 1U << 30U;
  return static_cast<int>(std::min(pixels, far_too_large));
}

void require_size(const ImageContainer& image) {
  if (image.stored_size.width == 0 || image.stored_size.height == 0) {
    fail<ImageFormatError>("is a damaged {} file: width or height is 0", to_string(image.format));
  }
}

/// PNG (W3C, section 5): chunks of length, type, data, CRC. The decoder checks the CRCs of those it gets.
/// It does not get the end chunk: with it, FFmpeg 5.1 takes a picture whose compressed rows end early for
/// whole; without it, only one of which it has all rows.
ImageContainer parse_png(ByteView file) {
  ImageContainer image{.format = ImageFormat::png, .stored_size = {}, .orientation = 1, .picture = {}};
  image.picture.reserve(file.size());
  append(image.picture, file.first(png_signature.size()));
  bool has_data = false;
  for (std::size_t at = png_signature.size();;) {
    if (file.size() - at < png_chunk_overhead_bytes ||
        file.size() - at - png_chunk_overhead_bytes < big32(file, at)) {
      fail<ImageFormatError>("is a truncated PNG file: it ends at byte {} inside a chunk", file.size());
    }
    const ByteView chunk = file.subspan(at, png_chunk_overhead_bytes + big32(file, at));
    const ByteView data = chunk.subspan(8, chunk.size() - png_chunk_overhead_bytes);
    const bool first = at == png_signature.size();
    if (first != has_text(chunk, 4, "IHDR") || (first && data.size() != 13)) {
      fail<ImageFormatError>("is a damaged PNG file: no proper header chunk at byte {}", at);
    }
    if (first) {
      image.stored_size = {side(big32(data, 0)), side(big32(data, 4))};
      require_size(image);
    }
    if (has_text(chunk, 4, "eXIf")) image.orientation = exif_orientation(data).value_or(1);
    const bool ancillary = (chunk[4] & 0x20U) != 0;  // lower-case first letter
    if (has_text(chunk, 4, "IEND")) break;
    if (!ancillary) append(image.picture, chunk);
    has_data = has_data || has_text(chunk, 4, "IDAT");
    at += chunk.size();
  }
  if (!has_data) fail<ImageFormatError>("is a PNG file without image data");
  return image;
}

/// The size in the picture chunk's own header: VP8 (RFC 6386, section 9.1) or VP8L (WebP lossless bitstream).
PixelSize webp_picture_size(ByteView chunk) {
  const ByteView data = chunk.subspan(riff_chunk_header_bytes);
  if (has_text(chunk, 0, "VP8 ") && data.size() >= 10 && has_text(data, 3, "\x9d\x01\x2a")) {
    return {side(little16(data, 6) & 0x3FFFU), side(little16(data, 8) & 0x3FFFU)};
  }
  if (has_text(chunk, 0, "VP8L") && data.size() >= 5 && data[0] == 0x2F) {
    const std::uint32_t bits = little32(data, 1);
    return {side((bits & 0x3FFFU) + 1), side((bits >> 14U & 0x3FFFU) + 1)};
  }
  fail<ImageFormatError>("is a damaged WebP file: broken picture header");
}

/// WebP container: RIFF chunks of type, length, data, padded to even length.
ImageContainer parse_webp(ByteView file) {
  ImageContainer image{.format = ImageFormat::webp, .stored_size = {}, .orientation = 1, .picture = {}};
  const std::size_t end = riff_chunk_header_bytes + std::size_t{little32(file, 4)};
  if (file.size() < end) {
    fail<ImageFormatError>("is a truncated WebP file: {} of {} bytes are there", file.size(), end);
  }
  std::optional<ByteView> picture;
  for (std::size_t at = riff_header_bytes; at < end;) {
    if (end - at < riff_chunk_header_bytes || end - at - riff_chunk_header_bytes < little32(file, at + 4)) {
      fail<ImageFormatError>("is a damaged WebP file: the chunk at byte {} does not fit", at);
    }
    const ByteView chunk = file.subspan(at, riff_chunk_header_bytes + little32(file, at + 4));
    if (has_text(chunk, 0, "ANIM") || has_text(chunk, 0, "ANMF")) {
      fail<ImageFormatError>("is an animated WebP file; save one frame of it as an image");
    }
    if (!picture && (has_text(chunk, 0, "VP8 ") || has_text(chunk, 0, "VP8L"))) picture = chunk;
    if (has_text(chunk, 0, "EXIF")) {
      const std::size_t skip = has_text(chunk, riff_chunk_header_bytes, "Exif\0\0"sv) ? 6 : 0;
      image.orientation = exif_orientation(chunk.subspan(riff_chunk_header_bytes + skip)).value_or(1);
    }
    at += chunk.size() + chunk.size() % 2;
  }
  if (!picture) fail<ImageFormatError>("is a WebP file without image data");
  image.stored_size = webp_picture_size(*picture);
  require_size(image);
  const std::size_t padding = picture->size() % 2;
  append(image.picture, file.first(4));
  append_little32(image.picture, 4 + picture->size() + padding);
  append(image.picture, file.subspan(8, 4));
  append(image.picture, *picture);
  image.picture.resize(image.picture.size() + padding);
  return image;
}

/// All rows of an uncompressed BMP file, each padded to 4 bytes, must be there; the decoder only guesses.
void require_bmp_rows(ByteView file, PixelSize size, std::uint32_t bits_per_pixel) {
  const std::uint64_t row_bytes =
      (std::uint64_t{bits_per_pixel} * static_cast<unsigned>(size.width) + 31) / 32 * 4;
  const std::uint64_t end = little32(file, 10) + row_bytes * static_cast<unsigned>(size.height);
  if (bits_per_pixel > 32 || file.size() < end) {
    fail<ImageFormatError>("is a truncated BMP file: {} of {} bytes are there", file.size(), end);
  }
}

/// BMP: a file header of 14 bytes, then one of the information headers, told apart by their length.
ImageContainer parse_bmp(ByteView file) {
  constexpr std::size_t file_header_bytes = 14;
  constexpr std::size_t core_header_bytes = 12;
  constexpr std::size_t info_header_bytes = 40;
  constexpr std::uint32_t bit_fields = 3;
  if (file.size() < file_header_bytes + core_header_bytes) fail<ImageFormatError>("is a truncated BMP file");
  ImageContainer image{.format = ImageFormat::bmp, .stored_size = {}, .orientation = 1, .picture = {}};
  if (little32(file, file_header_bytes) == core_header_bytes) {
    image.stored_size = {side(little16(file, 18)), side(little16(file, 20))};
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
    image.stored_size = {side(little32(file, 18)), side((height & 0x80000000U) != 0 ? 0U - height : height)};
    require_bmp_rows(file, image.stored_size, little16(file, 28));
  }
  require_size(image);
  append(image.picture, file);
  return image;
}

std::string_view name_of_other_format(ByteView file) {
  if (has_text(file, 0, "GIF8")) return "a GIF file";
  if (has_text(file, 0, "II*\0"sv) || has_text(file, 0, "MM\0*"sv)) return "a TIFF file";
  if (has_text(file, 4, "ftypavif")) return "an AVIF file";
  if (has_text(file, 4, "ftyphei") || has_text(file, 4, "ftypmif1")) return "a HEIF file";
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
  }
  return "unknown";
}

ImageContainer parse_image_container(ByteView file) {
  if (file.empty()) fail<ImageFormatError>("is empty (0 bytes)");
  if (has_text(file, 0, png_signature)) return parse_png(file);
  if (has_text(file, 0, "\xFF\xD8\xFF")) return parse_jpeg_container(file);
  if (has_text(file, 0, "RIFF") && has_text(file, 8, "WEBP")) return parse_webp(file);
  if (has_text(file, 0, "BM")) return parse_bmp(file);
  fail<ImageFormatError>("is {}; PNG, JPEG, WebP and BMP images are read", name_of_other_format(file));
}

}  // namespace wan::media
