#include "vae/vae.h"

#include <fmt/ranges.h>

#include "core/check.h"

namespace wan::vae {
namespace {

WeightScope checked_scope(const TensorLookup& weights) {
  return WeightScope([weights](const std::string& name, at::IntArrayRef shape) {
    at::Tensor tensor = weights(name);
    if (!tensor.defined() || tensor.sizes() != shape) {
      fail<UsageError>(
          "the autoencoder's tensor '{}' has shape [{}], expected [{}]: use the checkpoint's own "
          "Wan2.1_VAE.pth",
          name, tensor.defined() ? fmt::format("{}", fmt::join(tensor.sizes(), ", ")) : "none",
          fmt::join(shape, ", "));
    }
    return tensor;
  });
}

/// One value per latent channel, [latent_channels, 1, 1, 1].
at::Tensor per_channel(const std::array<double, latent_channels>& values, const at::TensorOptions& options) {
  return at::tensor(values, at::kDouble).to(options).view({-1, 1, 1, 1});
}

}  // namespace

Vae::Vae(const VaeConfig& config, const TensorLookup& weights) : Vae(checked_scope(weights), config) {
  const at::TensorOptions options = weights("conv2.weight").options();
  mean_ = per_channel(latent_mean, options);
  // The reciprocal in the compute type, because decoding divides by it (model.md 4.1).
  inverse_std_ = per_channel(latent_std, options).reciprocal_();
}

Vae::Vae(const WeightScope& weights, const VaeConfig& config)
    : encoder_(weights / "encoder", config),
      encoder_out_(weights / "conv1", 2 * latent_channels, 2 * latent_channels, 3),
      decoder_in_(weights / "conv2", latent_channels, latent_channels, 3),
      decoder_(weights / "decoder", config) {}

std::vector<ExpectedShape> vae_tensors(const VaeConfig& config) {
  std::vector<ExpectedShape> tensors;
  const WeightScope recorder([&](const std::string& name, at::IntArrayRef shape) {
    tensors.push_back({name, shape.vec()});
    return at::empty(shape, at::TensorOptions(at::kMeta));  // shape only, no memory
  });
  const Vae walked(recorder, config);
  return tensors;
}

at::Tensor Vae::encode(const PixelClip& clip, RowExchange& rows) const {
  const std::int64_t count = latent_frames(clip.frames);
  const std::int64_t height = spatial_factor * rows.split().row_count(rows.split().part());
  EncoderState state = encoder_.start();
  std::vector<at::Tensor> latents;
  for (std::int64_t t = 0; t < count; ++t) {
    const std::int64_t first = t == 0 ? 0 : 1 + temporal_factor * (t - 1);
    const std::int64_t frames = t == 0 ? 1 : temporal_factor;
    const at::Tensor pixels = clip.read(first, frames);  // [3, frames, 8 h8, 8 w8]
    WAN_CHECK(pixels.dim() == 4 && pixels.size(0) == 3 && pixels.size(1) == frames &&
                  pixels.size(2) == height && pixels.size(3) > 0 && pixels.size(3) % spatial_factor == 0,
              "pixels have shape [{}], expected [3, {}, {}, a multiple of {}]",
              fmt::join(pixels.sizes(), ", "), frames, height, spatial_factor);
    const at::Tensor encoded = encoder_({pixels, first, clip.constant_from}, state, rows);  // [2C, 1, h8, w8]
    const at::Tensor mean = encoder_out_(encoded).narrow(0, 0, latent_channels);            // [C, 1, h8, w8]
    latents.push_back((mean - mean_).mul_(inverse_std_));
  }
  return at::cat(latents, 1);  // [C, T, h8, w8]
}

at::Tensor Vae::decode(const at::Tensor& latent, RowExchange& rows, const PixelSink& sink) const {
  const std::int64_t height = rows.split().row_count(rows.split().part());
  WAN_CHECK(latent.dim() == 4 && latent.size(0) == latent_channels && latent.size(1) > 0 &&
                latent.size(2) == height && latent.size(3) > 0,
            "the latent has shape [{}], expected [{}, frames, {}, columns]", fmt::join(latent.sizes(), ", "),
            latent_channels, height);
  DecoderState state = decoder_.start();
  at::Tensor is_finite = at::ones({}, latent.options().dtype(at::kBool));  // one value
  for (std::int64_t t = 0; t < latent.size(1); ++t) {
    const at::Tensor frame = latent.narrow(1, t, 1).div(inverse_std_).add_(mean_);  // [C, 1, h8, w8]
    at::Tensor pixels = decoder_(decoder_in_(frame), state, rows);                  // [3, 1 or 4, 8 h8, 8 w8]
    // Checked before clamping, which would turn infinity into white. A walk over shapes has no values.
    if (!pixels.is_meta()) is_finite = is_finite.logical_and(pixels.isfinite().all());
    sink(pixels.clamp_(-1.0, 1.0), t == 0 ? 0 : 1 + temporal_factor * (t - 1));
  }
  return is_finite;
}

PixelClip image_clip(const at::Tensor& image, std::int64_t frames) {
  const auto read = [image](std::int64_t first, std::int64_t count) {
    at::Tensor chunk = at::zeros({image.size(0), count, image.size(1), image.size(2)}, image.options());
    if (first == 0) chunk.select(1, 0).copy_(image);
    return chunk;
  };
  return {.frames = frames, .constant_from = 1, .read = read};
}

at::Tensor to_uint8_frames(const at::Tensor& chunk) {
  return chunk.clamp(-1.0, 1.0)
      .add_(1.0)
      .div_(2.0)
      .mul_(255.0)
      .to(at::kByte)
      .permute({1, 2, 3, 0})
      .contiguous();
}

}  // namespace wan::vae
