#include <algorithm>
#include <array>
#include <optional>

#include "core/check.h"
#include "media/image_container.h"

namespace wan::media {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t header_bytes = 13;  // signature and logical screen
constexpr std::size_t colour_bytes = 3;
constexpr unsigned has_palette = 0x80;
constexpr unsigned interlaced = 0x40;

std::size_t palette_bytes(unsigned flags) {
  return (flags & has_palette) != 0 ? colour_bytes << ((flags & 7U) + 1) : 0;
}

/// How many of `wanted` pixels a stream of LZW codes contains (GIF 89a, Appendix F). FFmpeg's decoder does
/// not say when a stream ends early.
std::uint64_t lzw_pixels(unsigned first_bits, ByteView data, std::uint64_t wanted) {
  constexpr unsigned largest_bits = 12;
  const unsigned clear = 1U << first_bits;
  std::array<std::uint64_t, 1U << largest_bits> lengths{};  // number of pixels of each code
  std::fill_n(lengths.begin(), clear, 1);
  unsigned next = clear + 2;
  unsigned bits = first_bits + 1;
  constexpr unsigned none = ~0U;
  unsigned previous = none;
  std::uint64_t pixels = 0;
  std::uint64_t held = 0;
  unsigned held_bits = 0;
  std::size_t at = 0;
  while (pixels < wanted) {
    for (; held_bits < bits && at < data.size(); held_bits += 8)
      held |= std::uint64_t{data[at++]} << held_bits;
    if (held_bits < bits) break;
    const unsigned code = static_cast<unsigned>(held) & ((1U << bits) - 1);
    held >>= bits;
    held_bits -= bits;
    if (code == clear) {
      next = clear + 2;
      bits = first_bits + 1;
      previous = none;
      continue;
    }
    // the end code, or damage
    if (code == clear + 1 || code > next || (code == next && previous == none)) break;
    if (previous != none && next < lengths.size()) {
      lengths.at(next) = lengths.at(previous) + 1;
      ++next;
    }
    pixels += lengths.at(code);
    if (next == 1U << bits && bits < largest_bits) ++bits;
    previous = code;
  }
  return pixels;
}

class GifWalker {
 public:
  explicit GifWalker(ByteView file) : file_(file) {}

  ImageContainer walk() {
    result_.format = ImageFormat::gif;
    if (file_.size() < header_bytes) truncated();
    result_.stored_size = {static_cast<int>(little16(file_, 6)), static_cast<int>(little16(file_, 8))};
    at_ = header_bytes;
    palette_flags_ = file_[10];
    palette_ = take(palette_bytes(palette_flags_));
    while (true) {
      switch (take(1)[0]) {
        case 0x21:
          read_extension();
          break;
        case 0x2C:
          read_frame();
          return std::move(result_);
        case 0x3B:
          fail<ImageFormatError>("is a GIF file without image data");
        default:  // readers ignore bytes between the blocks
          break;
      }
    }
  }

 private:
  [[noreturn]] void truncated() const {
    fail<ImageFormatError>("is a truncated GIF file: it ends at byte {}, before its first picture does",
                           file_.size());
  }

  ByteView take(std::size_t size) {
    if (file_.size() - at_ < size) truncated();
    at_ += size;
    return file_.subspan(at_ - size, size);
  }

  void read_extension() {
    constexpr std::uint8_t graphic_control = 0xF9;
    const std::uint8_t label = take(1)[0];
    for (ByteView block = take(take(1)[0]); !block.empty(); block = take(take(1)[0])) {
      if (label != graphic_control || block.size() < 4) continue;
      transparent_.reset();
      if ((block[0] & 1U) != 0) transparent_ = block[3];
    }
  }

  void read_frame() {
    const ByteView place = take(9);
    result_.left = static_cast<int>(little16(place, 0));
    result_.top = static_cast<int>(little16(place, 2));
    result_.picture_size = {static_cast<int>(little16(place, 4)), static_cast<int>(little16(place, 6))};
    if (result_.picture_size.width == 0 || result_.picture_size.height == 0) {
      fail<ImageFormatError>("is a damaged GIF file: its first picture has no pixels");
    }
    // As in Pillow, an image that is too small for its first frame grows.
    PixelSize& size = result_.stored_size;
    size.width = std::max(size.width, result_.left + result_.picture_size.width);
    size.height = std::max(size.height, result_.top + result_.picture_size.height);
    if (const ByteView own = take(palette_bytes(place[8])); !own.empty()) {
      palette_flags_ = place[8];
      palette_ = own;
    }
    choose_background();
    result_.drops_transparency = transparent_.has_value();
    read_pixels(take(1)[0]);
    write_picture((place[8] & interlaced) != 0);
  }

  void choose_background() {
    const std::uint8_t index = transparent_.value_or(0);
    if (palette_.empty()) result_.background.fill(index);
    const std::size_t first = index * colour_bytes;
    if (palette_.size() < first + colour_bytes) return;
    std::copy_n(palette_.begin() + static_cast<std::ptrdiff_t>(first), colour_bytes,
                result_.background.begin());
  }

  /// Collects the codes without their division into blocks. The end of the file ends them too, because all
  /// pixels may already be there.
  void read_pixels(std::uint8_t first_bits) {
    if (first_bits < 1 || first_bits > 8) {
      fail<ImageFormatError>("is a damaged GIF file: its pixels are said to take {} bits", first_bits);
    }
    first_bits_ = first_bits;
    while (at_ < file_.size() && file_[at_] != 0) {
      const std::size_t size = std::min<std::size_t>(file_[at_], file_.size() - at_ - 1);
      const ByteView block = file_.subspan(at_ + 1, size);
      codes_.insert(codes_.end(), block.begin(), block.end());
      at_ += 1 + size;
    }
    const std::uint64_t wanted = std::uint64_t{static_cast<unsigned>(result_.picture_size.width)} *
                                 static_cast<unsigned>(result_.picture_size.height);
    if (const std::uint64_t found = lzw_pixels(first_bits, codes_, wanted); found < wanted) {
      fail<ImageFormatError>("is a damaged or truncated GIF file: {} of {} pixels are there", found, wanted);
    }
  }

  /// Writes a GIF file with this one frame, without transparency and as large as the frame.
  void write_picture(bool is_interlaced) {
    std::vector<std::uint8_t>& out = result_.picture;
    const auto append16 = [&out](int value) {
      out.push_back(static_cast<std::uint8_t>(value & 0xFF));
      out.push_back(static_cast<std::uint8_t>(value >> 8));
    };
    constexpr auto signature = "GIF89a"sv;
    out.assign(signature.begin(), signature.end());
    append16(result_.picture_size.width);
    append16(result_.picture_size.height);
    constexpr unsigned all_colours = has_palette | 7U;
    const unsigned flags = palette_.empty() ? all_colours : has_palette | (palette_flags_ & 7U);
    out.insert(out.end(), {static_cast<std::uint8_t>(flags), 0, 0});
    out.insert(out.end(), palette_.begin(), palette_.end());
    // without a palette the values are shades of gray
    for (unsigned value = 0; palette_.empty() && value < 256; ++value) {
      out.insert(out.end(), colour_bytes, static_cast<std::uint8_t>(value));
    }
    out.push_back(0x2C);
    append16(0);
    append16(0);
    append16(result_.picture_size.width);
    append16(result_.picture_size.height);
    out.push_back(static_cast<std::uint8_t>(is_interlaced ? interlaced : 0U));
    out.push_back(first_bits_);
    constexpr std::size_t largest_block = 255;
    for (std::size_t begin = 0; begin < codes_.size(); begin += largest_block) {
      const std::size_t size = std::min(largest_block, codes_.size() - begin);
      out.push_back(static_cast<std::uint8_t>(size));
      const auto from = codes_.begin() + static_cast<std::ptrdiff_t>(begin);
      out.insert(out.end(), from, from + static_cast<std::ptrdiff_t>(size));
    }
    out.insert(out.end(), {0, 0x3B});
  }

  ByteView file_;
  std::size_t at_ = 0;
  ImageContainer result_;
  unsigned palette_flags_ = 0;
  ByteView palette_;  ///< RGB
  std::optional<std::uint8_t> transparent_;
  std::uint8_t first_bits_ = 0;
  std::vector<std::uint8_t> codes_;
};

}  // namespace

ImageContainer parse_gif_container(ByteView file) { return GifWalker(file).walk(); }

}  // namespace wan::media
