#pragma once

#include <array>

#include "media/ffmpeg.h"
#include "media/image.h"
#include "media/image_container.h"

namespace wan::media {

/// The meaning of a frame's pixels, in addition to their format.
struct PixelMeaning {
  bool is_premultiplied = false;  ///< the colours are multiplied by alpha
  bool is_full_range = false;     ///< YCbCr has the range 0..255 even if the frame does not say so
  Inks inks = Inks::none;
};

/// A decoded still picture as RGB. The result is exact for RGB, palette and gray pixels of any depth; swscale
/// converts YCbCr. Alpha is dropped. Throws Error with FFmpeg's reason.
Image rgb_from_frame(const AVFrame& frame, const PixelMeaning& meaning = {});

/// The picture at (left, top) of a larger picture of one colour. The larger one must contain it.
Image on_canvas(Image picture, PixelSize size, int left, int top, std::array<std::uint8_t, 3> colour);

/// Turns and mirrors a stored picture so that it appears as meant (Exif 2.3, tag Orientation, 1..8).
Image oriented(Image stored, int orientation);

}  // namespace wan::media
