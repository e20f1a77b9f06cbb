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

std::size_t row_bytes(int width) { return static_cast<std::size_t>(width) * rgb_channels; }

Image blank(int width, int height) {
  Image image{.width = width, .height = height, .rgb = {}};
  image.rgb.resize(row_bytes(width) * static_cast<std::size_t>(height));
  return image;
}

/// 8 bits of a sample of `depth` bits: the high byte of deep ones (as Pillow reads them), shallow ones
/// spread.
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
      for (const unsigned shift : {16U, 8U, 0U}) *out++ = static_cast<std::uint8_t>(colours[row[x]] >> shift);
    }
  }
  return image;
}

/// RGB, palette and gray need no arithmetic that could round, so swscale is left out.
Image read_samples(const AVFrame& frame, const AVPixFmtDescriptor& format) {
  const bool gray = format.nb_components < rgb_channels;
  Image image = blank(frame.width, frame.height);
  std::vector<std::uint16_t> line(static_cast<std::size_t>(frame.width));
  std::array<const std::uint8_t*, 4> planes{};
  std::copy_n(std::begin(frame.data), planes.size(), planes.begin());
  for (int y = 0; y < frame.height; ++y) {
    std::uint8_t* const row = image.rgb.data() + row_bytes(frame.width) * static_cast<std::size_t>(y);
    for (int channel = 0; channel < rgb_channels; ++channel) {
      const int component = gray ? 0 : channel;
      if (!gray || channel == 0) {
        av_read_image_line2(line.data(), planes.data(), std::data(frame.linesize), &format, 0, y, component,
                            frame.width, 0, sizeof(line[0]));
      }
      for (std::size_t x = 0; x < line.size(); ++x) {
        row[x * rgb_channels + static_cast<std::size_t>(channel)] =
            to_8_bits(line[x], format.comp[component].depth);
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

/// JPEG's range 0..255, where video (and WebP) has 16..235.
bool is_full_range(const AVFrame& frame) {
  constexpr std::array full_range_formats{AV_PIX_FMT_YUVJ420P, AV_PIX_FMT_YUVJ422P, AV_PIX_FMT_YUVJ444P,
                                          AV_PIX_FMT_YUVJ440P, AV_PIX_FMT_YUVJ411P};
  return frame.color_range == AVCOL_RANGE_JPEG ||
         std::find(full_range_formats.begin(), full_range_formats.end(), frame.format) !=
             full_range_formats.end();
}

/// A copy whose sides are multiples of the chroma's spacing. swscale would stretch the chroma of other sizes,
/// by half a pixel at the far edge; what is added here is cut off after the conversion.
FramePtr padded(const AVFrame& frame, const AVPixFmtDescriptor& format) {
  FramePtr result = make_picture(FFALIGN(frame.width, 1 << format.log2_chroma_w),
                                 FFALIGN(frame.height, 1 << format.log2_chroma_h),
                                 static_cast<AVPixelFormat>(frame.format));
  for (int plane = 0; plane < 3; ++plane) {
    const bool chroma = plane != 0;
    const int width = chroma ? AV_CEIL_RSHIFT(frame.width, format.log2_chroma_w) : frame.width;
    const int height = chroma ? AV_CEIL_RSHIFT(frame.height, format.log2_chroma_h) : frame.height;
    av_image_copy_plane(result->data[plane], result->linesize[plane], frame.data[plane],
                        frame.linesize[plane], width, height);
  }
  return result;
}

/// 8-bit planar YCbCr. Chroma samples lie in the middle of the pixels they cover, as in JPEG, and are
/// interpolated linearly: the "fancy upsampling" of libjpeg and libwebp. It takes two steps, because on the
/// way to RGB swscale only picks or averages chroma rows.
Image convert_yuv(const AVFrame& frame, const AVPixFmtDescriptor& format) {
  const bool full_range = is_full_range(frame);
  FramePtr picture = padded(frame, format);
  picture = converted(*picture, full_range ? AV_PIX_FMT_YUVJ444P : AV_PIX_FMT_YUV444P);
  picture = converted(*picture, AV_PIX_FMT_RGB24);
  Image image = blank(frame.width, frame.height);
  for (int y = 0; y < frame.height; ++y) {
    std::copy_n(picture->data[0] + static_cast<std::ptrdiff_t>(y) * picture->linesize[0],
                row_bytes(frame.width),
                image.rgb.data() + row_bytes(frame.width) * static_cast<std::size_t>(y));
  }
  return image;
}

}  // namespace

Image rgb_from_frame(const AVFrame& frame) {
  const AVPixFmtDescriptor* format = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame.format));
  if (format == nullptr) fail("unknown pixel format {}", frame.format);
  if ((format->flags & AV_PIX_FMT_FLAG_PAL) != 0) return read_palette(frame);
  const bool rgb = (format->flags & AV_PIX_FMT_FLAG_RGB) != 0;
  if (rgb || format->nb_components < rgb_channels) return read_samples(frame, *format);
  if (format->comp[0].depth != 8 || (format->flags & AV_PIX_FMT_FLAG_PLANAR) == 0) {
    fail("has {} pixels, which are not read", format->name);
  }
  return convert_yuv(frame, *format);
}

Image oriented(Image stored, int orientation) {
  if (orientation <= 1 || orientation > 8) return stored;
  const bool swapped = orientation >= 5;
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image shown = swapped ? blank(stored.height, stored.width) : blank(stored.width, stored.height);
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
