#pragma once

#include "media/ffmpeg.h"
#include "media/image.h"

namespace wan::media {

/// A decoded still picture as RGB: exact for RGB, palette and gray pixels of any depth, by swscale from
/// YCbCr. Throws Error with FFmpeg's reason.
Image rgb_from_frame(const AVFrame& frame);

/// Turns and mirrors a picture as stored into one as shown (Exif 2.3, tag Orientation, 1..8).
Image oriented(Image stored, int orientation);

}  // namespace wan::media
