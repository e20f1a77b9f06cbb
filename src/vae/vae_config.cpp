#include "vae/vae_config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <initializer_list>

#include "core/check.h"

namespace wan::vae {

namespace {

constexpr std::array<double, 16> wan21_mean{-0.7571, -0.7089, -0.9113, 0.1075,  -0.1745, 0.9653,
                                            -0.1517, 1.5508,  0.4134,  -0.0715, 0.5517,  -0.3632,
                                            -0.1922, -0.9497, 0.2503,  -0.2921};
constexpr std::array<double, 16> wan21_deviation{2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708,
                                                 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579,
                                                 1.6382, 1.1253, 2.8251, 1.9160};
constexpr std::array<double, 48> wan22_mean{
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174,  0.1838,  0.1557,  -0.1382, 0.0542,
    0.2813,  0.0891,  0.1570,  -0.0098, 0.0375,  -0.1825, -0.2246, -0.1207, -0.0698, 0.5109,
    0.2665,  -0.2108, -0.2158, 0.2502,  -0.2055, -0.0322, 0.1109,  0.1567,  -0.0729, 0.0899,
    -0.2799, -0.1230, -0.0313, -0.1649, 0.0117,  0.0723,  -0.2839, -0.2083, -0.0520, 0.3748,
    0.0152,  0.1957,  0.1433,  -0.2944, 0.3573,  -0.0548, -0.1681, -0.0667};
constexpr std::array<double, 48> wan22_deviation{
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
    0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
    0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744};

/// Far above any real width. It keeps products of sizes small, whatever a file says.
constexpr std::int64_t widest = 4096;

/// The width that `shape` of tensor `name` tells, the tensor's first size being `times` widths. `channels`:
/// the second sizes that are known.
std::int64_t width_of(const std::string& name, const std::vector<std::int64_t>& shape, std::int64_t times,
                      std::initializer_list<std::int64_t> channels) {
  const bool is_known = shape.size() == 5 && std::ranges::find(channels, shape[1]) != channels.end();
  if (!is_known || shape[0] < times || shape[0] % times != 0 || shape[0] / times > widest) {
    fail<UsageError>(
        "the autoencoder's tensor '{}' has shape [{}], expected [{}width, {}, 3, 3, 3] with a width of 1 to "
        "{}: "
        "use the checkpoint's own Wan2.1_VAE.pth or Wan2.2_VAE.pth",
        name, fmt::join(shape, ", "), times == 1 ? std::string() : fmt::format("{} ", times),
        fmt::join(channels, " or "), widest);
  }
  return shape[0] / times;
}

}  // namespace

LatentStatistics VaeConfig::latent_statistics() const {
  if (family == Family::wan21) return {wan21_mean, wan21_deviation};
  return {wan22_mean, wan22_deviation};
}

std::string_view VaeConfig::official_file() const {
  return family == Family::wan21 ? "Wan2.1_VAE.pth" : "Wan2.2_VAE.pth";
}

VaeConfig infer_vae_config(const ShapeLookup& shape_of) {
  const std::string first = "encoder.conv1.weight";
  const std::vector<std::int64_t> first_shape = shape_of(first);
  VaeConfig config;
  config.encoder_width = width_of(first, first_shape, 1, {3, 12});
  config.family = first_shape[1] == 3 ? Family::wan21 : Family::wan22;
  const std::int64_t channels = config.latent_channels();
  const std::vector<std::int64_t> latent = shape_of("conv2.weight");
  if (latent.empty() || latent[0] != channels) {
    fail<UsageError>(
        "the autoencoder's tensor 'conv2.weight' has shape [{}], expected [{}, {}, 1, 1, 1]: only the "
        "autoencoders of Wan 2.1 (16 latent channels) and of Wan 2.2 (48, of TI2V-5B) are supported",
        fmt::join(latent, ", "), channels, channels);
  }
  if (config.family == Family::wan21) {
    config.decoder_width = config.encoder_width;
  } else {
    const std::string decoder = "decoder.conv1.weight";
    config.decoder_width = width_of(decoder, shape_of(decoder), 4, {channels});
  }
  return config;
}

std::int64_t latent_frames(std::int64_t pixel_frames) {
  WAN_CHECK(pixel_frames >= 1 && pixel_frames % temporal_factor == 1, "{} frames are not 4n+1", pixel_frames);
  return (pixel_frames - 1) / temporal_factor + 1;
}

std::int64_t pixel_frames(std::int64_t latent_frames) { return temporal_factor * (latent_frames - 1) + 1; }

}  // namespace wan::vae
