#pragma once

#include <ATen/core/Tensor.h>

#include "model/video_geometry.h"
#include "wan/engine.h"

namespace wan::engine {

/// The part of a latent that a draft's preview shows: its first frames, and its height and width divided by
/// averaging. `latent`: fp32 [channels, frames, height, width]. Returns fp32 of the same order, with at least
/// one frame, row and column. The decoder is causal: the first frames of a video do not depend on later ones.
at::Tensor preview_latent(const at::Tensor& latent, const Draft& draft);

/// The size and the number of frames of such a preview. `geometry`: of the model that decodes it.
struct PreviewShape {
  PixelSize size;
  int frames = 0;
};
PreviewShape preview_shape(const at::Tensor& latent, const Draft& draft,
                           const model::VideoGeometry& geometry);

}  // namespace wan::engine
