#pragma once

#include <ATen/core/Tensor.h>

#include "media/image.h"
#include "model/video_geometry.h"
#include "wan/request.h"

namespace wan::engine {

/// The video size of an i2v request: the image's aspect ratio at the area of `size`, on the grid of tokens
/// (model.md 7.2). Throws ItemError if a side would be 0, or longer than a video can be.
PixelSize fit_to_area(PixelSize image, PixelSize size, const model::VideoGeometry& geometry);

/// The image at `target` size: fp32 [3, height, width] in -1..1. A bicubic stretch without antialiasing,
/// whose overshoot is kept (model.md 7.2).
at::Tensor resize_image(const media::Image& image, PixelSize target);

/// How an image becomes the first frame of a video: it is resized, and its middle is cut out.
struct FrameFit {
  PixelSize resized;
  int crop_x = 0;  ///< first column and row of the resized image that the frame shows
  int crop_y = 0;
  PixelSize frame;
  bool operator==(const FrameFit&) const = default;
};

/// The fit of an image of ti2v at the area of `size` (model.md 7.8). Throws ItemError if a side of the frame
/// would be 0, or longer than a video can be.
FrameFit fit_first_frame(PixelSize image, PixelSize size, const model::VideoGeometry& geometry);

/// The first frame of a video: fp32 [3, height, width] in -1..1 (model.md 7.8).
at::Tensor first_frame(const media::Image& image, const FrameFit& fit);

}  // namespace wan::engine
