#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>

#include "vae/decoder.h"
#include "vae/encoder.h"
#include "vae/row_exchange.h"
#include "vae/vae_config.h"

namespace wan::vae {

/// A clip to encode. It is read when it is needed, and only this part's rows.
struct PixelClip {
  std::int64_t frames = 0;  ///< 4n+1
  /// All frames from this index on are equal. encode() then stops computing where nothing changes any more.
  /// The value must be the same on every part, because it decides which layers run and so which exchanges
  /// take place.
  std::int64_t constant_from = never_constant;
  /// Reads frames [first, first + count) as [3, count, spatial_factor * latent rows, W] in [-1, 1] (overshoot
  /// is allowed), in the weights' type and on their device.
  std::function<at::Tensor(std::int64_t first, std::int64_t count)> read;
};

/// The clip of image-to-video: the image, then mid-grey frames, which are zeros (model.md 4.7). `image` is
/// this part's rows [3, h, W].
PixelClip image_clip(const at::Tensor& image, std::int64_t frames);

/// Receives decoded pixels [T, spatial_factor * latent rows, W, 3] in [-1, 1], not rounded to 16 bits.
/// `first` is the frame number of the chunk's first frame in the clip.
using PixelSink = std::function<void(const at::Tensor& chunk, std::int64_t first)>;

/// The autoencoder of Wan 2.1 or of Wan 2.2 (model.md 4.5), (model.md 4.9). It is const after construction
/// and serves any number of clips; each clip has its own state. It computes in the type and on the device of
/// the weights, or as `arithmetic` says. Bits do not depend on the number of parts where the kernels' do not
/// (kernels/convolution.h). No call keeps more than one chunk of pixels.
class Vae {
 public:
  /// Reads every tensor of vae_tensors(config). Throws UsageError with the name of a tensor whose shape is
  /// wrong.
  Vae(const VaeConfig& config, const TensorLookup& weights, const Arithmetic& arithmetic = {});

  /// Returns this part's rows of the normalised latent mean, [latent_channels, T, h8, w8] with T =
  /// latent_frames(frames). Throws Error if the number of frames is not 4n+1 or `clip` returns another shape.
  /// `probe` may be empty.
  at::Tensor encode(const PixelClip& clip, RowExchange& rows, const Probe& probe = {}) const;

  /// Decodes this part's rows of a normalised latent [latent_channels, T, h8, w8]. Passes the pixels to
  /// `sink` as soon as they are made: one frame, then four for each further latent frame. Returns whether all
  /// pixels were finite before clamping to -1..1, as one bool on the device. Throws Error for another shape.
  at::Tensor decode(const at::Tensor& latent, RowExchange& rows, const PixelSink& sink,
                    const Probe& probe = {}) const;

  const VaeConfig& config() const { return config_; }

 private:
  explicit Vae(const WeightScope& weights, const VaeConfig& config);
  friend std::vector<ExpectedShape> vae_tensors(const VaeConfig& config);

  VaeConfig config_;
  Encoder encoder_;
  PointwiseConv encoder_out_;  // "conv1": mean and log variance
  PointwiseConv decoder_in_;   // "conv2"
  Decoder decoder_;
  at::Tensor mean_, inverse_std_;  // [latent_channels]
};

/// Pixels in [-1, 1] -> 0..255, truncated (model.md 7.7), on the same device. The result for NaN is
/// unspecified; Vae::decode() tells whether there was any.
at::Tensor to_uint8_frames(const at::Tensor& chunk);

}  // namespace wan::vae
