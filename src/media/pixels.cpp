#include "media/pixels.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/check.h"

extern "C" {
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>
}

namespace wan::media {
namespace {

constexpr int rgb_channels = 3;
constexpr std::uint32_t opaque = 255;

std::size_t row_bytes(int width) { return static_cast<std::size_t>(width) * rgb_channels; }

Image blank(int width, int height) {
  Image image{.width = width, .height = height, .rgb = {}};
  image.rgb.resize(row_bytes(width) * static_cast<std::size_t>(height));
  return image;
}

/// Converts a sample of `depth` bits to 8 bits. Deep samples keep their high byte, as in Pillow; shallow ones
/// are spread over the range.
std::uint8_t to_8_bits(unsigned value, int depth) {
  if (depth >= 8) return static_cast<std::uint8_t>(value >> static_cast<unsigned>(depth - 8));
  const unsigned largest = (1U << static_cast<unsigned>(depth)) - 1;
  return static_cast<std::uint8_t>((value * 255 + largest / 2) / largest);
}

Image read_palette(const AVFrame& frame) {
  Image image = blank(frame.width, frame.height);
  std::array<std::uint32_t, 256> colours{};  // native-endian ARGB words
  std::memcpy(colours.data(), frame.data[1], sizeof(colours));
  auto out = image.rgb.begin();
  for (int y = 0; y < frame.height; ++y) {
    const std::uint8_t* const row = frame.data[0] + static_cast<std::ptrdiff_t>(y) * frame.linesize[0];
    for (int x = 0; x < frame.width; ++x) {
      const std::uint32_t colour = colours[row[x]];
      for (const unsigned shift : {16U, 8U, 0U}) *out++ = static_cast<std::uint8_t>(colour >> shift);
      image.transparency_dropped = image.transparency_dropped || colour >> 24U != opaque;
    }
  }
  return image;
}

/// Reads the samples of a frame of RGB or gray pixels, channel by channel and row by row.
class SampleReader {
 public:
  SampleReader(const AVFrame& frame, const AVPixFmtDescriptor& format) : frame_(frame), format_(format) {
    std::copy_n(std::begin(frame.data), planes_.size(), planes_.begin());
    line_.resize(static_cast<std::size_t>(frame.width));
  }

  bool is_gray() const { return format_.nb_components < rgb_channels; }
  bool has_alpha() const { return (format_.flags & AV_PIX_FMT_FLAG_ALPHA) != 0; }
  int alpha_component() const { return format_.nb_components - 1; }

  /// Reads 8 bits of each sample of a row: [width].
  void read(int component, int y, std::vector<std::uint8_t>& out) {
    av_read_image_line2(line_.data(), planes_.data(), std::data(frame_.linesize), &format_, 0, y, component,
                        frame_.width, 0, sizeof(line_[0]));
    const bool inverted = frame_.format == AV_PIX_FMT_MONOWHITE;
    out.resize(line_.size());
    for (std::size_t x = 0; x < line_.size(); ++x) {
      const std::uint8_t value = to_8_bits(line_[x], format_.comp[component].depth);
      out[x] = inverted ? static_cast<std::uint8_t>(opaque - value) : value;
    }
  }

 private:
  const AVFrame& frame_;
  const AVPixFmtDescriptor& format_;
  std::array<const std::uint8_t*, 4> planes_{};
  std::vector<std::uint16_t> line_;
};

/// The colour before its multiplication by alpha, as Pillow computes it.
std::uint8_t unmultiplied(std::uint8_t value, std::uint8_t alpha) {
  if (alpha == 0 || alpha == opaque) return value;
  return static_cast<std::uint8_t>(std::min(opaque, opaque * value / alpha));
}

/// RGB, palette and gray need no arithmetic that could round, so they do without swscale.
Image read_samples(const AVFrame& frame, const AVPixFmtDescriptor& format, bool is_premultiplied) {
  SampleReader reader(frame, format);
  Image image = blank(frame.width, frame.height);
  std::vector<std::uint8_t> line;
  std::vector<std::uint8_t> alpha;
  for (int y = 0; y < frame.height; ++y) {
    std::uint8_t* const row = image.rgb.data() + row_bytes(frame.width) * static_cast<std::size_t>(y);
    if (reader.has_alpha()) {
      reader.read(reader.alpha_component(), y, alpha);
      const auto is_opaque = [](std::uint8_t value) { return value == opaque; };
      image.transparency_dropped = image.transparency_dropped || !std::ranges::all_of(alpha, is_opaque);
    }
    for (int channel = 0; channel < rgb_channels; ++channel) {
      if (!reader.is_gray() || channel == 0) reader.read(channel, y, line);
      for (std::size_t x = 0; x < line.size(); ++x) {
        const bool divide = is_premultiplied && !alpha.empty();
        row[x * rgb_channels + static_cast<std::size_t>(channel)] =
            divide ? unmultiplied(line[x], alpha[x]) : line[x];
      }
    }
  }
  return image;
}

FramePtr make_picture(int width, int height, AVPixelFormat format) {
  FramePtr picture = make_frame();
  picture->width = width;
  picture->height = height;
  picture->format = format;
  if (const int rc = av_frame_get_buffer(picture.get(), 0); rc < 0) {
    fail("no memory for {}x{} pixels: {}", width, height, error_text(rc));
  }
  return picture;
}

/// The same picture in another pixel format.
FramePtr converted(const AVFrame& from, AVPixelFormat to) {
  constexpr int exact = SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP | SWS_BITEXACT;
  const ScalerPtr scaler(sws_getContext(from.width, from.height, static_cast<AVPixelFormat>(from.format),
                                        from.width, from.height, to, SWS_BILINEAR | exact, nullptr, nullptr,
                                        nullptr));
  FramePtr result = make_picture(from.width, from.height, to);
  if (!scaler || sws_scale(scaler.get(), from.data, from.linesize, 0, from.height, result->data,
                           result->linesize) != from.height) {
    fail("cannot be converted from {} to {} pixels",
         av_get_pix_fmt_name(static_cast<AVPixelFormat>(from.format)), av_get_pix_fmt_name(to));
  }
  return result;
}

/// Whether the range is JPEG's 0..255. Video (and WebP) has 16..235.
bool is_full_range(const AVFrame& frame) {
  constexpr std::array full_range_formats{AV_PIX_FMT_YUVJ420P, AV_PIX_FMT_YUVJ422P, AV_PIX_FMT_YUVJ444P,
                                          AV_PIX_FMT_YUVJ440P, AV_PIX_FMT_YUVJ411P};
  return frame.color_range == AVCOL_RANGE_JPEG ||
         std::ranges::find(full_range_formats, frame.format) != full_range_formats.end();
}

/// The same format without an alpha plane, in the variant that states the range.
AVPixelFormat plain_format(int format, bool full_range) {
  switch (format) {
    case AV_PIX_FMT_YUVA444P:
    case AV_PIX_FMT_YUV444P:
      return full_range ? AV_PIX_FMT_YUVJ444P : AV_PIX_FMT_YUV444P;
    case AV_PIX_FMT_YUVA422P:
    case AV_PIX_FMT_YUV422P:
      return full_range ? AV_PIX_FMT_YUVJ422P : AV_PIX_FMT_YUV422P;
    case AV_PIX_FMT_YUVA420P:
    case AV_PIX_FMT_YUV420P:
      return full_range ? AV_PIX_FMT_YUVJ420P : AV_PIX_FMT_YUV420P;
    default:
      return static_cast<AVPixelFormat>(format);
  }
}

/// Copies `rows` rows of the frame, beginning with row `first`, into a frame whose sides are multiples of the
/// chroma's spacing. For other sizes swscale would stretch the chroma, by half a pixel at the far edge. The
/// added pixels are cut off after the conversion.
FramePtr padded_band(const AVFrame& frame, const AVPixFmtDescriptor& format, bool full_range, int first,
                     int rows) {
  FramePtr band =
      make_picture(FFALIGN(frame.width, 1 << format.log2_chroma_w), FFALIGN(rows, 1 << format.log2_chroma_h),
                   plain_format(frame.format, full_range));
  for (int plane = 0; plane < 3; ++plane) {
    const bool chroma = plane != 0;
    const int width = chroma ? AV_CEIL_RSHIFT(frame.width, format.log2_chroma_w) : frame.width;
    const int height = chroma ? AV_CEIL_RSHIFT(rows, format.log2_chroma_h) : rows;
    const int top = chroma ? first >> format.log2_chroma_h : first;
    const std::uint8_t* const from =
        frame.data[plane] + static_cast<std::ptrdiff_t>(top) * frame.linesize[plane];
    av_image_copy_plane(band->data[plane], band->linesize[plane], from, frame.linesize[plane], width, height);
  }
  return band;
}

/// Copies rows [first, first + rows) of a band that begins at row `band_first` into the image.
void copy_rows(const AVFrame& band, int band_first, int first, int rows, bool as_planes, Image& image) {
  for (int y = first; y < first + rows; ++y) {
    const int at = y - band_first;
    std::uint8_t* const out = image.rgb.data() + row_bytes(image.width) * static_cast<std::size_t>(y);
    if (!as_planes) {
      std::copy_n(band.data[0] + static_cast<std::ptrdiff_t>(at) * band.linesize[0], row_bytes(image.width),
                  out);
      continue;
    }
    for (int plane = 0; plane < rgb_channels; ++plane) {
      const std::uint8_t* const from =
          band.data[plane] + static_cast<std::ptrdiff_t>(at) * band.linesize[plane];
      for (int x = 0; x < image.width; ++x) out[x * rgb_channels + plane] = from[x];
    }
  }
}

/// Converts 8-bit planar YCbCr to RGB, or returns its three planes at full resolution unchanged. Chroma
/// samples lie in the middle of the pixels that they cover, as in JPEG. They are interpolated linearly: the
/// "fancy upsampling" of libjpeg and libwebp. It takes two steps, because swscale only picks or averages
/// chroma rows when it converts to RGB. Bands of rows keep the memory for both steps small. Each band has
/// extra rows on both sides, so that no chroma neighbour is missing.
Image convert_yuv(const AVFrame& frame, const AVPixFmtDescriptor& format, bool full_range, bool as_planes) {
  constexpr int band_rows = 512;
  constexpr int margin_rows = 16;  // a multiple of every spacing of chroma rows
  Image image = blank(frame.width, frame.height);
  for (int y = 0; y < frame.height; y += band_rows) {
    const int first = std::max(0, y - margin_rows);
    const int end = std::min(frame.height, y + band_rows);
    FramePtr band =
        padded_band(frame, format, full_range, first, std::min(frame.height, end + margin_rows) - first);
    band = converted(*band, full_range ? AV_PIX_FMT_YUVJ444P : AV_PIX_FMT_YUV444P);
    if (!as_planes) band = converted(*band, AV_PIX_FMT_RGB24);
    copy_rows(*band, first, y, end - y, as_planes, image);
  }
  return image;
}

/// Converts four planes of inverted inks. As in Pillow, a colour is the part of white that the ink and the
/// black leave.
Image convert_inks(const AVFrame& frame, const AVPixFmtDescriptor& format, Inks inks) {
  const bool is_ycck = inks == Inks::ycck;
  Image image = convert_yuv(frame, format, /*full_range=*/true, /*as_planes=*/!is_ycck);
  auto out = image.rgb.begin();
  for (int y = 0; y < frame.height; ++y) {
    const std::uint8_t* const black = frame.data[3] + static_cast<std::ptrdiff_t>(y) * frame.linesize[3];
    for (int x = 0; x < frame.width; ++x) {
      for (int channel = 0; channel < rgb_channels; ++channel, ++out) {
        const std::uint32_t ink = is_ycck ? *out : opaque - *out;
        *out = static_cast<std::uint8_t>(black[x] - (ink * black[x] + opaque / 2) / opaque);
      }
    }
  }
  return image;
}

}  // namespace

Image rgb_from_frame(const AVFrame& frame, const PixelMeaning& meaning) {
  const AVPixFmtDescriptor* format = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame.format));
  if (format == nullptr) fail("unknown pixel format {}", frame.format);
  if ((format->flags & AV_PIX_FMT_FLAG_PAL) != 0) return read_palette(frame);
  if ((format->flags & AV_PIX_FMT_FLAG_FLOAT) != 0) {
    fail("has floating-point pixels, which are not read; save it with 8 bits per sample");
  }
  const bool rgb = (format->flags & AV_PIX_FMT_FLAG_RGB) != 0;
  if (rgb || format->nb_components < rgb_channels) {
    return read_samples(frame, *format, meaning.is_premultiplied);
  }
  if (format->comp[0].depth != 8 || (format->flags & AV_PIX_FMT_FLAG_PLANAR) == 0) {
    fail("has {} pixels, which are not read", format->name);
  }
  if (meaning.inks != Inks::none) return convert_inks(frame, *format, meaning.inks);
  return convert_yuv(frame, *format, meaning.is_full_range || is_full_range(frame), /*as_planes=*/false);
}

Image on_canvas(Image picture, PixelSize size, int left, int top, std::array<std::uint8_t, 3> colour) {
  Image canvas = blank(size.width, size.height);
  canvas.transparency_dropped = picture.transparency_dropped;
  for (auto out = canvas.rgb.begin(); out != canvas.rgb.end();) {
    out = std::ranges::copy(colour, out).out;
  }
  for (int y = 0; y < picture.height; ++y) {
    const std::uint8_t* const from =
        picture.rgb.data() + row_bytes(picture.width) * static_cast<std::size_t>(y);
    const std::size_t to = row_bytes(size.width) * static_cast<std::size_t>(top + y) + row_bytes(left);
    std::copy_n(from, row_bytes(picture.width), canvas.rgb.data() + to);
  }
  return canvas;
}

Image oriented(Image stored, int orientation) {
  if (orientation <= 1 || orientation > 8) return stored;
  const bool swapped = orientation >= 5;
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image shown = swapped ? blank(stored.height, stored.width) : blank(stored.width, stored.height);
  shown.transparency_dropped = stored.transparency_dropped;
  auto out = shown.rgb.begin();
  for (int y = 0; y < shown.height; ++y) {
    for (int x = 0; x < shown.width; ++x) {
      const int across = swapped ? y : x;
      const int down = swapped ? x : y;
      const int column = from_right ? stored.width - 1 - across : across;
      const int row = from_bottom ? stored.height - 1 - down : down;
      const std::size_t at = row_bytes(stored.width) * static_cast<std::size_t>(row) + row_bytes(column);
      out = std::copy_n(stored.rgb.begin() + static_cast<std::ptrdiff_t>(at), rgb_channels, out);
    }
  }
  return shown;
}

}  // namespace wan::media
