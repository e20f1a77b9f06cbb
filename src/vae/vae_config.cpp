#include "vae/vae_config.h"

#include <fmt/ranges.h>

#include "core/check.h"

namespace wan::vae {

VaeConfig infer_vae_config(const ShapeLookup& shape_of) {
  // Far above any real width. It keeps products of sizes small, whatever a file says.
  constexpr std::int64_t widest = 4096;
  const std::vector<std::int64_t> first = shape_of("encoder.conv1.weight");
  if (first.size() != 5 || first[0] < 1 || first[0] > widest) {
    fail<UsageError>(
        "the autoencoder's tensor 'encoder.conv1.weight' has shape [{}], expected [width, 3, 3, 3, 3] with a "
        "width of 1 to {}: use the checkpoint's own Wan2.1_VAE.pth",
        fmt::join(first, ", "), widest);
  }
  const std::vector<std::int64_t> latent = shape_of("conv2.weight");
  if (latent.empty() || latent[0] != latent_channels) {
    fail<UsageError>(
        "the autoencoder's tensor 'conv2.weight' has shape [{}], expected [{}, {}, 1, 1, 1]: only the "
        "autoencoder of Wan 2.1 with {} latent channels is supported",
        fmt::join(latent, ", "), latent_channels, latent_channels, latent_channels);
  }
  return {.base_width = first[0]};
}

std::int64_t latent_frames(std::int64_t pixel_frames) {
  WAN_CHECK(pixel_frames >= 1 && pixel_frames % temporal_factor == 1, "{} frames are not 4n+1", pixel_frames);
  return (pixel_frames - 1) / temporal_factor + 1;
}

std::int64_t pixel_frames(std::int64_t latent_frames) { return temporal_factor * (latent_frames - 1) + 1; }

}  // namespace wan::vae
