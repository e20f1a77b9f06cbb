#include <algorithm>
#include <optional>

#include "core/check.h"
#include "media/exif.h"
#include "media/image_container.h"

namespace wan::media {
namespace {

constexpr std::size_t riff_header_bytes = 12;
constexpr std::size_t chunk_header_bytes = 8;
constexpr std::size_t frame_header_bytes = 16;  // length of an ANMF chunk's header, before its own chunks

std::uint32_t little24(ByteView bytes, std::size_t at) {
  return little16(bytes, at) | static_cast<std::uint32_t>(bytes[at + 2]) << 16U;
}

/// Calls `take` for each chunk (type, length, data, padded to an even length) between `begin` and `end`.
template <typename Take>
void for_each_chunk(ByteView file, std::size_t begin, std::size_t end, Take take) {
  for (std::size_t at = begin; at < end;) {
    if (end - at < chunk_header_bytes || end - at - chunk_header_bytes < little32(file, at + 4)) {
      fail<ImageFormatError>("is a damaged WebP file: the chunk at byte {} does not fit", at);
    }
    const ByteView chunk = file.subspan(at, chunk_header_bytes + little32(file, at + 4));
    take(chunk, at);
    at += chunk.size() + chunk.size() % 2;
  }
}

bool is_picture(ByteView chunk) { return has_text(chunk, 0, "VP8 ") || has_text(chunk, 0, "VP8L"); }

/// The size in the header of the picture chunk: VP8 (RFC 6386, section 9.1) or VP8L (WebP lossless
/// bitstream).
PixelSize picture_size(ByteView chunk) {
  const ByteView data = chunk.subspan(chunk_header_bytes);
  if (has_text(chunk, 0, "VP8 ") && data.size() >= 10 && has_text(data, 3, "\x9d\x01\x2a")) {
    return {side_pixels(little16(data, 6) & 0x3FFFU), side_pixels(little16(data, 8) & 0x3FFFU)};
  }
  if (has_text(chunk, 0, "VP8L") && data.size() >= 5 && data[0] == 0x2F) {
    const std::uint32_t bits = little32(data, 1);
    return {side_pixels((bits & 0x3FFFU) + 1), side_pixels((bits >> 14U & 0x3FFFU) + 1)};
  }
  fail<ImageFormatError>("is a damaged WebP file: broken picture header");
}

class WebpWalker {
 public:
  explicit WebpWalker(ByteView file) : file_(file) {}

  ImageContainer walk() {
    result_.format = ImageFormat::webp;
    const std::size_t end = chunk_header_bytes + std::size_t{little32(file_, 4)};
    if (file_.size() < end) {
      fail<ImageFormatError>("is a truncated WebP file: {} of {} bytes are there", file_.size(), end);
    }
    for_each_chunk(file_, riff_header_bytes, end, [&](ByteView chunk, std::size_t at) {
      const ByteView data = chunk.subspan(chunk_header_bytes);
      if (has_text(chunk, 0, "VP8X") && data.size() >= 10) canvas_ = {size24(data, 4), size24(data, 7)};
      if (has_text(chunk, 0, "ANMF") && !picture_) read_first_frame(chunk, at);
      take_picture(chunk);
      if (has_text(chunk, 0, "EXIF")) orientation_.add_exif(data);
      if (has_text(chunk, 0, "XMP ")) orientation_.add_xmp(as_text(data));
    });
    if (!picture_) fail<ImageFormatError>("is a WebP file without image data");
    result_.picture_size = picture_size(*picture_);
    place();
    require_size(result_);
    result_.orientation = orientation_.value();
    write_picture();
    return std::move(result_);
  }

 private:
  static int size24(ByteView data, std::size_t at) { return side_pixels(little24(data, at) + 1); }

  void take_picture(ByteView chunk) {
    if (picture_) return;
    if (has_text(chunk, 0, "ALPH")) result_.drops_transparency = true;
    if (is_picture(chunk)) picture_ = chunk;
  }

  void read_first_frame(ByteView chunk, std::size_t at) {
    if (chunk.size() < chunk_header_bytes + frame_header_bytes) {
      fail<ImageFormatError>("is a damaged WebP file: the frame at byte {} is too short", at);
    }
    is_animation_ = true;
    const ByteView data = chunk.subspan(chunk_header_bytes);
    result_.left = static_cast<int>(2 * little24(data, 0));
    result_.top = static_cast<int>(2 * little24(data, 3));
    for_each_chunk(file_, at + chunk_header_bytes + frame_header_bytes, at + chunk.size(),
                   [&](ByteView part, std::size_t) { take_picture(part); });
    if (!picture_) fail<ImageFormatError>("is a WebP file without image data in its first frame");
  }

  void place() {
    result_.stored_size = result_.picture_size;
    if (!is_animation_) return;
    result_.stored_size = canvas_.value_or(result_.picture_size);
    if (result_.left + result_.picture_size.width > result_.stored_size.width ||
        result_.top + result_.picture_size.height > result_.stored_size.height) {
      fail<ImageFormatError>(
          "is a damaged WebP file: its first frame, {}x{} pixels at {}, {}, is not inside its {}x{} pixels",
          result_.picture_size.width, result_.picture_size.height, result_.left, result_.top,
          result_.stored_size.width, result_.stored_size.height);
    }
  }

  /// Writes a WebP file with this one picture chunk.
  void write_picture() {
    std::vector<std::uint8_t>& out = result_.picture;
    const std::size_t padding = picture_->size() % 2;
    const auto append = [&out](ByteView bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); };
    append(file_.first(4));
    const std::size_t size = 4 + picture_->size() + padding;
    for (unsigned shift = 0; shift < 32; shift += 8) out.push_back(static_cast<std::uint8_t>(size >> shift));
    append(file_.subspan(8, 4));
    append(*picture_);
    out.resize(out.size() + padding);
  }

  ByteView file_;
  ImageContainer result_;
  OrientationTags orientation_;
  std::optional<ByteView> picture_;
  std::optional<PixelSize> canvas_;
  bool is_animation_ = false;
};

}  // namespace

ImageContainer parse_webp_container(ByteView file) { return WebpWalker(file).walk(); }

}  // namespace wan::media
