#pragma once

#include "media/image.h"
#include "wan/request.h"

namespace wan::media {

/// The image at `target` size, by the Lanczos filter of Pillow's Image.resize(), bit for bit (model.md 7.8):
/// 8-bit arithmetic, antialiased where the image shrinks, rows first and then columns, with 8-bit values in
/// between. `target`: at least one pixel on each side.
Image resize_lanczos(const Image& image, PixelSize target);

}  // namespace wan::media
