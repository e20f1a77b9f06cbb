#include "engine/preview.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "vae/vae_config.h"

namespace wan::engine {
namespace {

/// Latent frames of a preview.
std::int64_t shown_frames(const at::Tensor& latent, const Draft& draft) {
  if (draft.frames <= 0) return latent.size(1);
  const std::int64_t wanted = (draft.frames - 1) / vae::temporal_factor + 1;
  return std::clamp<std::int64_t>(wanted, 1, latent.size(1));
}

}  // namespace

at::Tensor preview_latent(const at::Tensor& latent, const Draft& draft) {
  const at::Tensor shown =
      latent.narrow(1, 0, shown_frames(latent, draft));  // [channels, frames, height, width]
  if (draft.shrink <= 1) return shown.contiguous();
  // At the lower and right edges the averages are over the rows and columns that are left.
  return at::avg_pool2d(shown, draft.shrink, draft.shrink, 0, /*ceil_mode=*/true,
                        /*count_include_pad=*/false);
}

PreviewShape preview_shape(const at::Tensor& latent, const Draft& draft,
                           const model::VideoGeometry& geometry) {
  const auto pixels = [&](std::int64_t latent_pixels) {
    return static_cast<int>((latent_pixels + draft.shrink - 1) / draft.shrink * geometry.pixels_per_latent);
  };
  return {.size = {.width = pixels(latent.size(3)), .height = pixels(latent.size(2))},
          .frames = static_cast<int>((shown_frames(latent, draft) - 1) * vae::temporal_factor) + 1};
}

}  // namespace wan::engine
