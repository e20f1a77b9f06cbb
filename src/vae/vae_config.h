#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace wan::vae {

inline constexpr std::int64_t temporal_factor = 4;  ///< pixel frames per latent frame after the first

/// The two autoencoders of the Wan family.
enum class Family {
  wan21,  ///< 16 latent channels, 8 pixels per latent row: Wan2.1_VAE.pth (model.md 4.3)
  wan22,  ///< 48 latent channels, 16 pixels per latent row: Wan2.2_VAE.pth (model.md 4.9)
};

/// Mean and standard deviation of the latent channels over the training data (model.md 4.1), (model.md 4.9).
struct LatentStatistics {
  std::span<const double> mean, deviation;
};

/// Family and sizes of an autoencoder. It has four levels with the encoder's or the decoder's width times 1,
/// 2, 4, 4 channels. Each level has two residual blocks in the encoder and three in the decoder. Time is
/// halved in the second and third down-sampling. Checkpoints of a family differ only in the widths.
struct VaeConfig {
  Family family = Family::wan21;
  std::int64_t encoder_width = 96;
  std::int64_t decoder_width = 96;

  static VaeConfig wan21(std::int64_t width) { return {Family::wan21, width, width}; }
  static VaeConfig wan22(std::int64_t encoder_width, std::int64_t decoder_width) {
    return {Family::wan22, encoder_width, decoder_width};
  }

  static constexpr int levels = 4;
  static constexpr int encoder_blocks = 2;  ///< residual blocks per level
  static constexpr int decoder_blocks = 3;
  std::int64_t latent_channels() const { return family == Family::wan21 ? 16 : 48; }
  /// Rows and columns of pixels that become channels of one position before the first level (model.md 4.9).
  std::int64_t pixel_patch() const { return family == Family::wan21 ? 1 : 2; }
  std::int64_t patch_channels() const { return 3 * pixel_patch() * pixel_patch(); }
  std::int64_t spatial_factor() const { return 8 * pixel_patch(); }  ///< pixels per latent row or column
  LatentStatistics latent_statistics() const;
  std::string_view official_file() const;  ///< name of the file in the official repository

  /// Whether the levels have a path around them without parameters (model.md 4.9).
  bool has_level_shortcuts() const { return family == Family::wan22; }
  /// Channels of a level, `width` being the encoder's or the decoder's. Level 0 has the resolution of the
  /// pixels or of their patches, level 3 the latent's.
  static std::int64_t level_width(std::int64_t width, int level) {
    return width * std::array<std::int64_t, levels>{1, 2, 4, 4}.at(level);
  }
  std::int64_t encoder_level(int level) const { return level_width(encoder_width, level); }
  std::int64_t decoder_level(int level) const { return level_width(decoder_width, level); }
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

/// Every tensor that an autoencoder of these sizes reads: 194 tensors, or 196 of Wan 2.2 (model.md 1.5).
std::vector<ExpectedShape> vae_tensors(const VaeConfig& config);

/// Reads family and sizes from the shapes of encoder.conv1.weight, decoder.conv1.weight and conv2.weight.
/// Throws UsageError with the tensor's name if the autoencoder is of no known family.
VaeConfig infer_vae_config(const ShapeLookup& shape_of);

/// Converts pixel frames 4n+1 to latent frames n+1. Throws Error for any other number.
std::int64_t latent_frames(std::int64_t pixel_frames);
/// Converts latent frames n+1 to pixel frames 4n+1.
std::int64_t pixel_frames(std::int64_t latent_frames);

}  // namespace wan::vae
