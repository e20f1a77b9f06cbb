#include <algorithm>
#include <set>

#include "core/check.h"
#include "media/exif.h"
#include "media/image_container.h"

namespace wan::media {
namespace {

namespace marker {
constexpr std::uint8_t prefix = 0xFF;
constexpr std::uint8_t stuffed = 0x00;
constexpr std::uint8_t restart_first = 0xD0;
constexpr std::uint8_t restart_last = 0xD7;
constexpr std::uint8_t start_of_image = 0xD8;
constexpr std::uint8_t end_of_image = 0xD9;
constexpr std::uint8_t start_of_scan = 0xDA;
constexpr std::uint8_t app0_jfif = 0xE0;
constexpr std::uint8_t app1_exif = 0xE1;
constexpr std::uint8_t app14_adobe = 0xEE;
constexpr std::uint8_t app_last = 0xEF;
constexpr std::uint8_t comment = 0xFE;
}  // namespace marker

bool is_start_of_frame(std::uint8_t code) {
  // C4, C8 and CC lie in the range but define tables or are reserved.
  return code >= 0xC0 && code <= 0xCF && code != 0xC4 && code != 0xC8 && code != 0xCC;
}

bool is_restart(std::uint8_t code) { return code >= marker::restart_first && code <= marker::restart_last; }

/// Colour transform and the like are in APP0 and APP14; the other application segments and comments are not
/// the picture's.
bool is_metadata(std::uint8_t code) {
  const bool application = code >= marker::app0_jfif && code <= marker::app_last;
  return code == marker::comment || (application && code != marker::app0_jfif && code != marker::app14_adobe);
}

class JpegWalker {
 public:
  explicit JpegWalker(ByteView file) : file_(file) {}

  ImageContainer walk() {
    result_.format = ImageFormat::jpeg;
    result_.picture.reserve(file_.size());
    append(0, 2);
    at_ = 2;
    while (!segment()) {
    }
    if (result_.stored_size.width == 0) fail<ImageFormatError>("is a JPEG file without a frame header");
    if (scanned_components_.size() < component_ids_.size()) {
      fail<ImageFormatError>("is a JPEG file that lacks the data of {} of its {} colour components",
                             component_ids_.size() - scanned_components_.size(), component_ids_.size());
    }
    return std::move(result_);
  }

 private:
  [[noreturn]] void truncated() const {
    fail<ImageFormatError>("is a truncated JPEG file: it ends at byte {} before the end-of-image marker",
                           file_.size());
  }

  void append(std::size_t from, std::size_t to) {
    result_.picture.insert(result_.picture.end(), file_.begin() + static_cast<std::ptrdiff_t>(from),
                           file_.begin() + static_cast<std::ptrdiff_t>(to));
  }

  std::uint8_t next_marker() {
    if (at_ >= file_.size()) truncated();
    if (file_[at_] != marker::prefix) {
      fail<ImageFormatError>("is a damaged JPEG file: no marker at byte {}", at_);
    }
    while (at_ < file_.size() && file_[at_] == marker::prefix) ++at_;  // any number of fill bytes
    if (at_ >= file_.size()) truncated();
    return file_[at_++];
  }

  /// Reads one marker with what belongs to it; true at the end of the image.
  bool segment() {
    const std::uint8_t code = next_marker();
    const std::size_t start = at_ - 2;
    if (code == marker::end_of_image) {
      append(start, at_);
      return true;
    }
    if (is_restart(code) || code == marker::start_of_image || code < 0xC0) {
      fail<ImageFormatError>("is a damaged JPEG file: marker FF{:02X} at byte {} is out of place", code,
                             start);
    }
    if (file_.size() - at_ < 2) truncated();
    const std::size_t length = big16(file_, at_);
    if (length < 2) fail<ImageFormatError>("is a damaged JPEG file: segment of no length at byte {}", start);
    if (file_.size() - at_ < length) truncated();
    const ByteView body = file_.subspan(at_ + 2, length - 2);
    at_ += length;
    if (is_start_of_frame(code)) read_frame_header(body, start);
    if (code == marker::app1_exif) read_exif(body);
    if (code == marker::start_of_scan) {
      read_scan_header(body, start);
      skip_entropy_coded_data();
    }
    if (!is_metadata(code)) append(start, at_);
    return false;
  }

  void read_frame_header(ByteView body, std::size_t start) {
    if (result_.stored_size.width != 0) {
      fail<ImageFormatError>("is a damaged JPEG file: second frame header at byte {}", start);
    }
    const std::size_t components = body.size() < 6 ? 0 : body[5];
    if (components == 0 || body.size() < 6 + 3 * components) {
      fail<ImageFormatError>("is a damaged JPEG file: frame header at byte {} is too short", start);
    }
    if (body[0] != 8) fail<ImageFormatError>("is a JPEG file of {} bits per sample; 8 are read", body[0]);
    if (components == 4) {
      fail<ImageFormatError>("is a CMYK JPEG file; only RGB and grayscale are read: convert it to RGB");
    }
    if (components != 1 && components != 3) {
      fail<ImageFormatError>("is a JPEG file of {} colour components; 1 or 3 are read", components);
    }
    for (std::size_t i = 0; i < components; ++i) component_ids_.insert(body[6 + 3 * i]);
    result_.stored_size = {static_cast<int>(big16(body, 3)), static_cast<int>(big16(body, 1))};
    if (result_.stored_size.width == 0 || result_.stored_size.height == 0) {
      fail<ImageFormatError>("is a damaged JPEG file: width or height is 0");
    }
  }

  void read_scan_header(ByteView body, std::size_t start) {
    const std::size_t components = body.empty() ? 0 : body[0];
    if (components == 0 || body.size() < 1 + 2 * components) {
      fail<ImageFormatError>("is a damaged JPEG file: scan header at byte {} is too short", start);
    }
    for (std::size_t i = 0; i < components; ++i) {
      if (!component_ids_.contains(body[1 + 2 * i])) {
        fail<ImageFormatError>("is a damaged JPEG file: scan at byte {} is of an unknown component", start);
      }
      scanned_components_.insert(body[1 + 2 * i]);
    }
  }

  /// Up to the next marker that is neither a stuffed byte nor a restart.
  void skip_entropy_coded_data() {
    while (true) {
      const auto found =
          std::find(file_.begin() + static_cast<std::ptrdiff_t>(at_), file_.end(), marker::prefix);
      at_ = static_cast<std::size_t>(found - file_.begin());
      if (file_.size() - at_ < 2) truncated();
      const std::uint8_t code = file_[at_ + 1];
      if (code == marker::prefix) {
        ++at_;
      } else if (code == marker::stuffed || is_restart(code)) {
        at_ += 2;
      } else {
        return;
      }
    }
  }

  void read_exif(ByteView body) {
    using namespace std::string_view_literals;
    constexpr std::string_view signature = "Exif\0\0"sv;
    if (has_orientation_ || !has_text(body, 0, signature)) return;
    if (const auto value = exif_orientation(body.subspan(signature.size()))) {
      result_.orientation = *value;
      has_orientation_ = true;
    }
  }

  ByteView file_;
  std::size_t at_ = 0;
  ImageContainer result_;
  std::set<std::uint8_t> component_ids_;
  std::set<std::uint8_t> scanned_components_;
  bool has_orientation_ = false;
};

}  // namespace

ImageContainer parse_jpeg_container(ByteView file) { return JpegWalker(file).walk(); }

}  // namespace wan::media
