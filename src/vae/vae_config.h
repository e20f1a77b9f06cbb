#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace wan::vae {

inline constexpr std::int64_t latent_channels = 16;
inline constexpr std::int64_t spatial_factor = 8;   ///< pixels per latent row or column
inline constexpr std::int64_t temporal_factor = 4;  ///< pixel frames per latent frame after the first

/// Mean and standard deviation of the latent channels over the training data (model.md 4.1).
inline constexpr std::array<double, latent_channels> latent_mean{
    -0.7571, -0.7089, -0.9113, 0.1075,  -0.1745, 0.9653,  -0.1517, 1.5508,
    0.4134,  -0.0715, 0.5517,  -0.3632, -0.1922, -0.9497, 0.2503,  -0.2921};
inline constexpr std::array<double, latent_channels> latent_std{
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160};

/// Sizes of the Wan 2.1 autoencoder (model.md 4.3). It has four levels with base_width times 1, 2, 4, 4
/// channels. Each level has two residual blocks in the encoder and three in the decoder. Time is halved in
/// the second and third down-sampling. Checkpoints differ only in the width.
struct VaeConfig {
  std::int64_t base_width = 96;

  static constexpr int levels = 4;
  static constexpr int encoder_blocks = 2;  ///< residual blocks per level
  static constexpr int decoder_blocks = 3;
  /// Channels of a level. Level 0 has the pixels' resolution, level 3 the latent's.
  std::int64_t width(int level) const {
    return base_width * std::array<std::int64_t, levels>{1, 2, 4, 4}.at(level);
  }
  /// Whether time changes between a level and the next coarser one.
  static constexpr bool temporal(int level) { return level == 1 || level == 2; }
};

/// Returns a tensor of the checkpoint by its full name, in the compute type and on the compute device. Throws
/// if there is no such tensor.
using TensorLookup = std::function<at::Tensor(const std::string& name)>;

/// Returns a tensor's shape by its full name. Throws if there is no such tensor.
using ShapeLookup = std::function<std::vector<std::int64_t>(const std::string& name)>;

struct ExpectedShape {
  std::string name;
  std::vector<std::int64_t> shape;
};

/// Every tensor that an autoencoder of these sizes reads: 194 tensors (model.md 1.5).
std::vector<ExpectedShape> vae_tensors(const VaeConfig& config);

/// Reads the sizes from the shapes of encoder.conv1.weight and conv2.weight. Throws UsageError with the
/// tensor's name if the autoencoder is of another family.
VaeConfig infer_vae_config(const ShapeLookup& shape_of);

/// Converts pixel frames 4n+1 to latent frames n+1. Throws Error for any other number.
std::int64_t latent_frames(std::int64_t pixel_frames);
/// Converts latent frames n+1 to pixel frames 4n+1.
std::int64_t pixel_frames(std::int64_t latent_frames);

}  // namespace wan::vae
