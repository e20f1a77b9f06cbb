#include <algorithm>
#include <string>

extern "C" {
#include <libavutil/crc.h>
}

#include "core/check.h"
#include "media/exif.h"
#include "media/image_container.h"
#include "media/png_text.h"

namespace wan::media {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t signature_bytes = 8;
constexpr std::size_t overhead_bytes = 12;  // length, type and CRC of a chunk
constexpr std::size_t header_bytes = 13;

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// The bytes of a "Raw profile": three lines (empty, name, length), then lines of hexadecimal digits. The
/// bytes end at the first other character.
std::vector<std::uint8_t> raw_profile(std::string_view text) {
  for (int line = 0; line < 3; ++line) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  std::vector<std::uint8_t> bytes;
  int high = -1;
  for (const char c : text) {
    if (c == '\n' || c == '\r' || c == ' ') continue;
    const int digit = hex_value(c);
    if (digit < 0) break;
    if (high >= 0) bytes.push_back(static_cast<std::uint8_t>(high * 16 + digit));
    high = high >= 0 ? -1 : digit;
  }
  return bytes;
}

/// Walks through the chunks: length, type, data, CRC. The decoder checks the CRCs of the chunks that it gets.
/// It does not get the end chunk. With that chunk, FFmpeg 5.1 accepts a picture whose compressed rows end
/// early. Without it, FFmpeg accepts only a picture with all its rows.
class PngWalker {
 public:
  explicit PngWalker(ByteView file) : file_(file) {}

  ImageContainer walk() {
    result_.format = ImageFormat::png;
    result_.picture.reserve(file_.size());
    append(file_.first(signature_bytes));
    at_ = signature_bytes;
    while (chunk()) {
    }
    if (!has_data_) fail<ImageFormatError>("is a PNG file without image data");
    if (!tags_.has_exif() && !raw_exif_.empty()) tags_.add_exif(raw_profile(png_text(raw_exif_)));
    if (!xmp_.empty()) tags_.add_xmp(png_text(xmp_));
    result_.orientation = tags_.value();
    return std::move(result_);
  }

 private:
  void append(ByteView bytes) { result_.picture.insert(result_.picture.end(), bytes.begin(), bytes.end()); }

  /// Reads one chunk. Returns false at the end.
  bool chunk() {
    const std::size_t left = file_.size() - at_;
    if (left < overhead_bytes || left - overhead_bytes < big32(file_, at_)) {
      end_early();
      return false;
    }
    const ByteView chunk = file_.subspan(at_, overhead_bytes + big32(file_, at_));
    const ByteView data = chunk.subspan(8, chunk.size() - overhead_bytes);
    const bool first = at_ == signature_bytes;
    if (first != has_text(chunk, 4, "IHDR") || (first && data.size() != header_bytes)) {
      fail<ImageFormatError>("is a damaged PNG file: no proper header chunk at byte {}", at_);
    }
    if (has_text(chunk, 4, "IEND")) return false;
    if (first) read_header(data);
    const bool ancillary = (chunk[4] & 0x20U) != 0;  // lower-case first letter
    if (ancillary) {
      read_note(chunk, data);
    } else {
      append(chunk);
    }
    has_data_ = has_data_ || has_text(chunk, 4, "IDAT");
    at_ += chunk.size();
    return true;
  }

  /// The file ends inside a chunk. All pixels may still be there, if the missing bytes are not needed. The
  /// decoder gets the bytes that are there, and notices missing rows.
  void end_early() {
    constexpr std::size_t type_end = 8;
    const std::size_t left = file_.size() - at_;
    if (left >= type_end && has_text(file_, at_ + 4, "IDAT")) {
      const std::size_t size = std::min<std::size_t>(left - type_end, big32(file_, at_));
      append_with_checksum(file_.subspan(at_ + 4, 4 + size));
      has_data_ = true;
    }
    if (has_data_) return;
    fail<ImageFormatError>("is a truncated PNG file: it ends at byte {} inside a chunk", file_.size());
  }

  void append_with_checksum(ByteView type_and_data) {
    const std::uint32_t checksum =
        ~av_crc(av_crc_get_table(AV_CRC_32_IEEE_LE), ~0U, type_and_data.data(), type_and_data.size());
    append_big32(static_cast<std::uint32_t>(type_and_data.size() - 4));
    append(type_and_data);
    append_big32(checksum);
  }

  void append_big32(std::uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      result_.picture.push_back(static_cast<std::uint8_t>(value >> static_cast<unsigned>(shift)));
    }
  }

  void read_header(ByteView data) {
    result_.stored_size = {side_pixels(big32(data, 0)), side_pixels(big32(data, 4))};
    result_.picture_size = result_.stored_size;
    require_size(result_);
  }

  void read_note(ByteView chunk, ByteView data) {
    if (has_text(chunk, 4, "tRNS")) result_.drops_transparency = true;
    if (has_text(chunk, 4, "eXIf")) tags_.add_exif(data);
    const bool is_text =
        has_text(chunk, 4, "tEXt") || has_text(chunk, 4, "zTXt") || has_text(chunk, 4, "iTXt");
    if (is_text && has_text(data, 0, "Raw profile type exif\0"sv)) raw_exif_ = chunk;
    if (has_text(chunk, 4, "iTXt") && has_text(data, 0, "XML:com.adobe.xmp\0"sv)) xmp_ = chunk;
  }

  ByteView file_;
  std::size_t at_ = 0;
  ImageContainer result_;
  OrientationTags tags_;
  // The last chunk of each kind counts. The others are not decompressed: a file may have thousands.
  ByteView raw_exif_;
  ByteView xmp_;
  bool has_data_ = false;
};

}  // namespace

ImageContainer parse_png_container(ByteView file) { return PngWalker(file).walk(); }

}  // namespace wan::media
