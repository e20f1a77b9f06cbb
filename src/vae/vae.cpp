#include "vae/vae.h"

#include <fmt/ranges.h>

#include <span>

#include "core/check.h"

namespace wan::vae {
namespace {

WeightScope checked_scope(const TensorLookup& weights, const VaeConfig& config,
                          const Arithmetic& arithmetic) {
  return WeightScope(
      [weights, file = config.official_file()](const std::string& name, at::IntArrayRef shape) {
        at::Tensor tensor = weights(name);
        if (!tensor.defined() || tensor.sizes() != shape) {
          fail<UsageError>(
              "the autoencoder's tensor '{}' has shape [{}], expected [{}]: use the checkpoint's own "
              "{}",
              name, tensor.defined() ? fmt::format("{}", fmt::join(tensor.sizes(), ", ")) : "none",
              fmt::join(shape, ", "), file);
        }
        return tensor;
      },
      arithmetic);
}

at::Tensor per_channel(std::span<const double> values, const at::TensorOptions& options) {
  return at::tensor(at::ArrayRef<double>(values.data(), values.size()), at::kDouble).to(options);
}

/// Makes channels of each patch x patch cell of pixels, ordered channel, column, row (model.md 4.9):
/// [3, T, h, W] -> [T, h/patch, W/patch, 3 patch^2].
at::Tensor fold_pixels(const at::Tensor& pixels, std::int64_t patch) {
  return pixels.unflatten(3, {-1, patch})
      .unflatten(2, {-1, patch})    // [c, T, i, dy, j, dx]
      .permute({1, 2, 4, 0, 5, 3})  // [T, i, j, c, dx, dy]
      .flatten(3);
}

/// The inverse of fold_pixels(), with the channels last: [T, h, W, 3].
at::Tensor unfold_pixels(const at::Tensor& cells, std::int64_t patch) {
  if (patch == 1) return cells;
  return cells
      .unflatten(3, {3, patch, patch})  // [T, i, j, c, dx, dy]
      .permute({0, 1, 5, 2, 4, 3})      // [T, i, dy, j, dx, c]
      .flatten(3, 4)
      .flatten(1, 2);
}

}  // namespace

Vae::Vae(const VaeConfig& config, const TensorLookup& weights, const Arithmetic& arithmetic)
    : Vae(checked_scope(weights, config, arithmetic), config) {
  const at::TensorOptions options = weights("conv2.weight").options();
  const LatentStatistics statistics = config.latent_statistics();
  mean_ = per_channel(statistics.mean, options);
  // The reciprocal in the compute type, because decoding divides by it (model.md 4.1).
  inverse_std_ = per_channel(statistics.deviation, options).reciprocal_();
}

Vae::Vae(const WeightScope& weights, const VaeConfig& config)
    : config_(config),
      encoder_(weights / "encoder", config),
      encoder_out_(weights.unrounded() / "conv1", 2 * config.latent_channels(), 2 * config.latent_channels(),
                   3),
      decoder_in_(weights.unrounded() / "conv2", config.latent_channels(), config.latent_channels(), 3),
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

at::Tensor Vae::encode(const PixelClip& clip, RowExchange& rows, const Probe& probe) const {
  const std::int64_t count = latent_frames(clip.frames);
  const std::int64_t factor = config_.spatial_factor();
  const std::int64_t height = factor * rows.split().row_count(rows.split().part());
  EncoderState state = encoder_.start();
  state.probe = probe;
  std::vector<at::Tensor> latents;
  for (std::int64_t t = 0; t < count; ++t) {
    const std::int64_t first = t == 0 ? 0 : 1 + temporal_factor * (t - 1);
    const std::int64_t frames = t == 0 ? 1 : temporal_factor;
    const at::Tensor pixels = clip.read(first, frames);  // [3, frames, factor h8, factor w8]
    WAN_CHECK(pixels.dim() == 4 && pixels.size(0) == 3 && pixels.size(1) == frames &&
                  pixels.size(2) == height && pixels.size(3) > 0 && pixels.size(3) % factor == 0,
              "pixels have shape [{}], expected [3, {}, {}, a multiple of {}]",
              fmt::join(pixels.sizes(), ", "), frames, height, factor);
    const at::Tensor cells = fold_pixels(pixels, config_.pixel_patch());
    const at::Tensor encoded = encoder_({cells, first, clip.constant_from}, state, rows);   // [1, h8, w8, 2C]
    const at::Tensor mean = encoder_out_(encoded).narrow(3, 0, config_.latent_channels());  // [1, h8, w8, C]
    latents.push_back((mean - mean_).mul_(inverse_std_));
  }
  return at::cat(latents, 0).permute({3, 0, 1, 2}).contiguous();  // [C, T, h8, w8]
}

at::Tensor Vae::decode(const at::Tensor& latent, RowExchange& rows, const PixelSink& sink,
                       const Probe& probe) const {
  const std::int64_t channels = config_.latent_channels();
  const std::int64_t height = rows.split().row_count(rows.split().part());
  WAN_CHECK(latent.dim() == 4 && latent.size(0) == channels && latent.size(1) > 0 &&
                latent.size(2) == height && latent.size(3) > 0,
            "the latent has shape [{}], expected [{}, frames, {}, columns]", fmt::join(latent.sizes(), ", "),
            channels, height);
  DecoderState state = decoder_.start();
  state.probe = probe;
  at::Tensor is_finite = at::ones({}, latent.options().dtype(at::kBool));  // one value
  for (std::int64_t t = 0; t < latent.size(1); ++t) {
    const at::Tensor frame =  // [1, h8, w8, C]
        latent.narrow(1, t, 1).permute({1, 2, 3, 0}).div(inverse_std_).add_(mean_).contiguous();
    const at::Tensor cells = decoder_(decoder_in_(frame), state, rows);     // [1 or 4, 8 h8, 8 w8, P]
    const at::Tensor pixels = unfold_pixels(cells, config_.pixel_patch());  // [1 or 4, height, width, 3]
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
  return chunk.clamp(-1.0, 1.0).add_(1.0).div_(2.0).mul_(255.0).to(at::kByte);
}

}  // namespace wan::vae
