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

}  // namespace wan::engine
