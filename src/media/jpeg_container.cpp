#include <algorithm>
#include <array>
#include <set>

#include "core/check.h"
#include "media/exif.h"
#include "media/image_container.h"

namespace wan::media {
namespace {

namespace marker {
constexpr std::uint8_t prefix = 0xFF;
constexpr std::uint8_t stuffed = 0x00;
constexpr std::uint8_t temporary = 0x01;
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
  // C4, C8 and CC are in the range, but they define tables or are reserved.
  return code >= 0xC0 && code <= 0xCF && code != 0xC4 && code != 0xC8 && code != 0xCC;
}

/// The coding feature of this kind of frame that no decoder here supports. Empty for supported frames.
std::string_view unsupported_coding(std::uint8_t start_of_frame) {
  if (start_of_frame > 0xC8) return "arithmetic coding";
  if (start_of_frame > 0xC4) return "hierarchical coding";
  return "";
}

bool is_restart(std::uint8_t code) { return code >= marker::restart_first && code <= marker::restart_last; }

/// Whether a segment is metadata. APP0 and APP14 hold the colour transform and similar data. Other
/// application segments and comments do not concern the picture.
bool is_metadata(std::uint8_t code) {
  const bool application = code >= marker::app0_jfif && code <= marker::app_last;
  return code == marker::comment || (application && code != marker::app0_jfif && code != marker::app14_adobe);
}

constexpr std::size_t cmyk_components = 4;
/// libjpeg's programs and browsers have about this limit. Each scan of a progressive file passes over the
/// whole picture.
constexpr int largest_scan_count = 500;

bool contains(const std::vector<std::uint8_t>& ids, std::uint8_t id) {
  return std::ranges::find(ids, id) != ids.end();
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
    result_.orientation = tags_.value();
    result_.picture_size = result_.stored_size;
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

  /// Finds the next marker. Like libjpeg, it skips fill bytes and any other bytes between segments.
  std::uint8_t next_marker() {
    while (true) {
      const auto found =
          std::find(file_.begin() + static_cast<std::ptrdiff_t>(at_), file_.end(), marker::prefix);
      at_ = static_cast<std::size_t>(found - file_.begin());
      while (at_ < file_.size() && file_[at_] == marker::prefix) ++at_;
      if (at_ >= file_.size()) truncated();
      const std::uint8_t code = file_[at_++];
      if (code != marker::stuffed && code != marker::temporary && !is_restart(code)) return code;
    }
  }

  /// Reads one marker and its data. Returns true at the end of the image.
  bool segment() {
    const std::uint8_t code = next_marker();
    const std::size_t start = at_ - 2;
    if (code == marker::end_of_image) {
      append(start, at_);
      return true;
    }
    if (code == marker::start_of_image || code < 0xC0) {
      fail<ImageFormatError>("is a damaged JPEG file: marker FF{:02X} at byte {} is out of place", code,
                             start);
    }
    if (file_.size() - at_ < 2) truncated();
    const std::size_t length = big16(file_, at_);
    if (length < 2) fail<ImageFormatError>("is a damaged JPEG file: segment of no length at byte {}", start);
    if (file_.size() - at_ < length) truncated();
    const ByteView body = file_.subspan(at_ + 2, length - 2);
    at_ += length;
    if (is_start_of_frame(code)) read_frame_header(code, body, start);
    if (code == marker::app1_exif) read_notes(body);
    if (code == marker::app14_adobe && has_text(body, 0, "Adobe") && body.size() >= 12)
      colour_transform_ = body[11];
    if (code == marker::start_of_scan) read_scan_header(body, start);
    const bool numbered = result_.inks != Inks::none;
    if (numbered && is_start_of_frame(code)) {
      append_numbered(start, 6, 3, cmyk_components);
    } else if (numbered && code == marker::start_of_scan) {
      append_numbered(start, 1, 2, body[0]);
    } else if (!is_metadata(code)) {
      append(start, at_);
    }
    if (code == marker::start_of_scan) append_entropy_coded_data();
    return false;
  }

  /// FFmpeg would convert the inks to RGB itself, less precisely than Pillow. The marker states colour
  /// transform 1, which has no meaning for four components. FFmpeg then returns the inks unchanged.
  void append_marker_for_inks() {
    constexpr std::array<std::uint8_t, 16> adobe{0xFF, 0xEE, 0,   14, 'A', 'd', 'o', 'b',
                                                 'e',  0,    100, 0,  0,   0,   0,   1};
    result_.picture.insert(result_.picture.end(), adobe.begin(), adobe.end());
    result_.inks = colour_transform_ == 0 ? Inks::cmyk : Inks::ycck;
  }

  /// Appends a frame or scan header with the components' numbers instead of their ids, because FFmpeg reads
  /// the ids "CMYK" as a colour transform. The first id is at byte `first` of the body; the others follow at
  /// distances of `step`.
  void append_numbered(std::size_t start, std::size_t first, std::size_t step, std::size_t components) {
    constexpr std::size_t marker_and_length_bytes = 4;
    const std::size_t body = result_.picture.size() + marker_and_length_bytes;
    append(start, at_);
    for (std::size_t i = 0; i < components; ++i) {
      std::uint8_t& id = result_.picture.at(body + first + i * step);
      const auto found = std::ranges::find(component_ids_, id);
      id = static_cast<std::uint8_t>(1 + (found - component_ids_.begin()));
    }
  }

  /// FFmpeg misplaces the black of files that store it at a lower resolution. Adobe's programs do not write
  /// such files.
  static void require_full_black(ByteView body) {
    constexpr std::size_t first_factors = 7;
    constexpr std::size_t black_factors = first_factors + 3 * (cmyk_components - 1);
    if (body[first_factors] == body[black_factors]) return;
    fail<ImageFormatError>(
        "is a CMYK JPEG file that stores black at a lower resolution than cyan, which is not read; save it "
        "as RGB");
  }

  void read_frame_header(std::uint8_t code, ByteView body, std::size_t start) {
    if (const std::string_view coding = unsupported_coding(code); !coding.empty()) {
      fail<ImageFormatError>(
          "is a JPEG file with {}, which is not supported; save it as an ordinary JPEG or a PNG file",
          coding);
    }
    if (result_.stored_size.width != 0) {
      fail<ImageFormatError>("is a damaged JPEG file: second frame header at byte {}", start);
    }
    const std::size_t components = body.size() < 6 ? 0 : body[5];
    if (components == 0 || body.size() < 6 + 3 * components) {
      fail<ImageFormatError>("is a damaged JPEG file: frame header at byte {} is too short", start);
    }
    if (body[0] != 8) fail<ImageFormatError>("is a JPEG file of {} bits per sample; 8 are read", body[0]);
    if (components != 1 && components != 3 && components != cmyk_components) {
      fail<ImageFormatError>("is a JPEG file of {} colour components; 1, 3 or 4 are read", components);
    }
    for (std::size_t i = 0; i < components; ++i) {
      if (contains(component_ids_, body[6 + 3 * i])) {
        fail<ImageFormatError>("is a damaged JPEG file: two colour components have the same id");
      }
      component_ids_.push_back(body[6 + 3 * i]);
    }
    if (components == cmyk_components) {
      require_full_black(body);
      append_marker_for_inks();
    }
    result_.stored_size = {static_cast<int>(big16(body, 3)), static_cast<int>(big16(body, 1))};
    if (result_.stored_size.width == 0 || result_.stored_size.height == 0) {
      fail<ImageFormatError>("is a damaged JPEG file: width or height is 0");
    }
  }

  void read_scan_header(ByteView body, std::size_t start) {
    if (++scans_ > largest_scan_count) {
      fail<ImageFormatError>(
          "is a JPEG file of more than {} scans, which would take long to decode; save it again",
          largest_scan_count);
    }
    const std::size_t components = body.empty() ? 0 : body[0];
    if (components == 0 || body.size() < 1 + 2 * components) {
      fail<ImageFormatError>("is a damaged JPEG file: scan header at byte {} is too short", start);
    }
    for (std::size_t i = 0; i < components; ++i) {
      if (!contains(component_ids_, body[1 + 2 * i])) {
        fail<ImageFormatError>("is a damaged JPEG file: scan at byte {} is of an unknown component", start);
      }
      scanned_components_.insert(body[1 + 2 * i]);
    }
  }

  /// Appends bytes up to the next marker that is neither a stuffed byte nor a restart.
  void append_entropy_coded_data() {
    const std::size_t start = at_;
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
        append(start, at_);
        return;
      }
    }
  }

  void read_notes(ByteView body) {
    using namespace std::string_view_literals;
    constexpr auto exif = "Exif\0\0"sv;
    constexpr auto xmp = "http://ns.adobe.com/xap/1.0/\0"sv;
    if (has_text(body, 0, exif)) tags_.add_exif(body);
    if (has_text(body, 0, xmp)) tags_.add_xmp(as_text(body.subspan(xmp.size())));
  }

  ByteView file_;
  std::size_t at_ = 0;
  ImageContainer result_;
  std::vector<std::uint8_t> component_ids_;
  std::set<std::uint8_t> scanned_components_;
  std::uint8_t colour_transform_ = 0;  ///< from Adobe's marker
  int scans_ = 0;
  OrientationTags tags_;
};

}  // namespace

ImageContainer parse_jpeg_container(ByteView file) { return JpegWalker(file).walk(); }

}  // namespace wan::media
