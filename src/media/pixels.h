#pragma once

#include <array>

#include "media/ffmpeg.h"
#include "media/image.h"
#include "media/image_container.h"

namespace wan::media {

/// What a frame's pixels mean, beside their format.
struct PixelMeaning {
  bool is_premultiplied = false;  ///< the colours were multiplied by alpha
  bool is_full_range = false;     ///< YCbCr has 0..255 even if the frame does not say so
  Inks inks = Inks::none;
};

/// A decoded still picture as RGB: exact for RGB, palette and gray pixels of any depth, by swscale from
/// YCbCr. Alpha is dropped. Throws Error with FFmpeg's reason.
Image rgb_from_frame(const AVFrame& frame, const PixelMeaning& meaning = {});

/// The picture at (left, top) of a larger one of one colour, inside which it lies.
Image on_canvas(Image picture, PixelSize size, int left, int top, std::array<std::uint8_t, 3> colour);

/// Turns and mirrors a picture as stored into one as shown (Exif 2.3, tag Orientation, 1..8).
Image oriented(Image stored, int orientation);

}  // namespace wan::media
