#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>

#include "vae/decoder.h"
#include "vae/encoder.h"
#include "vae/row_exchange.h"
#include "vae/vae_config.h"

namespace wan::vae {

/// A clip to encode, read as it is needed. Only this part's rows.
struct PixelClip {
  std::int64_t frames = 0;  ///< 4n+1
  /// All frames from this index on are equal; encode() then stops computing where nothing changes any more.
  /// The same on every part: it decides which layers run, and with them which exchanges take place.
  std::int64_t constant_from = never_constant;
  /// Frames [first, first + count) as [3, count, 8 * latent rows, W] in [-1, 1] (overshoot is allowed), in
  /// the weights' type and on their device.
  std::function<at::Tensor(std::int64_t first, std::int64_t count)> read;
};

/// The clip of image-to-video: the image, then mid-grey frames, which are zeros (model.md 4.7).
/// `image` is this part's rows [3, h, W].
PixelClip image_clip(const at::Tensor& image, std::int64_t frames);

/// Takes decoded pixels [3, T, 8 * latent rows, W] in [-1, 1]; `first` is the clip's frame number of the
/// first.
using PixelSink = std::function<void(const at::Tensor& chunk, std::int64_t first)>;

/// The Wan 2.1 autoencoder (model.md 4.5). Const after construction: any number of clips, each with its own
/// state. Computes in the type and on the device of the weights. No call keeps more than one chunk of pixels.
class Vae {
 public:
  /// Reads every tensor of vae_tensors(config). Throws UsageError naming the tensor whose shape is wrong.
  Vae(const VaeConfig& config, const TensorLookup& weights);

  /// This part's rows of the normalised latent mean, [latent_channels, T, h8, w8] with T =
  /// latent_frames(frames). Throws Error if the number of frames is not 4n+1 or what `clip` reads does not
  /// have the shape it should.
  at::Tensor encode(const PixelClip& clip, RowExchange& rows) const;

  /// Decodes this part's rows of a normalised latent [latent_channels, T, h8, w8] and gives the pixels to
  /// `sink` as they are made: one frame, then four for each further latent frame. Returns whether all of
  /// them were finite before they were brought into -1..1, as one bool on the device. Throws Error on another
  /// shape.
  at::Tensor decode(const at::Tensor& latent, RowExchange& rows, const PixelSink& sink) const;

 private:
  explicit Vae(const WeightScope& weights, const VaeConfig& config);
  friend std::vector<ExpectedShape> vae_tensors(const VaeConfig& config);

  Encoder encoder_;
  PointwiseConv encoder_out_;  // "conv1": mean and log variance
  PointwiseConv decoder_in_;   // "conv2"
  Decoder decoder_;
  at::Tensor mean_, inverse_std_;  // [latent_channels, 1, 1, 1]
};

/// [3, T, H, W] in [-1, 1] -> [T, H, W, 3] of 0..255, truncated (model.md 7.7). Contiguous, on the same
/// device. What becomes of NaN is unspecified: Vae::decode() tells whether there was any.
at::Tensor to_uint8_frames(const at::Tensor& chunk);

}  // namespace wan::vae
