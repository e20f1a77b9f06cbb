#include <ATen/ATen.h>
#include <fmt/format.h>

#include <vector>

#include "support/allocation_counter.h"
#include "unit/vae/random_weights.h"
#include "vae/vae.h"

/// Measures, with random weights of full width on the CPU: the error of --vae-precision fp16 and bf16 against
/// fp32, and the peak memory of decoding for each pixel.
namespace wan::vae {
namespace {

constexpr std::int64_t latent_rows = 8;
constexpr std::int64_t latent_columns = 12;

struct Made {
  at::Tensor latent;  ///< of an image and grey frames
  at::Tensor frames;  ///< of a random latent, in -1..1
  std::int64_t peak_bytes = 0;
};

Made make(const VaeConfig& config, const test::Weights& weights, const Arithmetic& arithmetic) {
  const Vae vae(config, test::lookup(weights), arithmetic);
  SinglePart rows(latent_rows);
  const std::int64_t factor = config.spatial_factor();
  const at::Tensor image =
      test::RandomTensors(2)({3, latent_rows * factor, latent_columns * factor}).clamp(-1, 1).to(at::kFloat);
  const at::Tensor latent =
      test::RandomTensors(3)({config.latent_channels(), 3, latent_rows, latent_columns}).to(at::kFloat);
  Made made;
  made.latent = vae.encode(image_clip(image, 9), rows);
  std::vector<at::Tensor> chunks;
  const test::AllocationCounter counter;
  vae.decode(latent, rows, [&](const at::Tensor& chunk, std::int64_t /*first*/) { chunks.push_back(chunk); });
  made.peak_bytes = counter.peak_bytes();
  made.frames = at::cat(chunks, 0);
  return made;
}

void measure(const char* name, const VaeConfig& config) {
  const test::Weights weights = test::in_fp32(test::random_vae_weights(config, 1));
  const std::int64_t factor = config.spatial_factor();
  const std::int64_t pixels = latent_rows * latent_columns * factor * factor;
  const Made exact = make(config, weights, {});
  const Made bands = make(config, weights, {.rounded = {}, .tf32 = false, .window_bytes = 1 << 20});
  fmt::print("{} at {}*{}, 9 frames\n", name, latent_columns * factor, latent_rows * factor);
  fmt::print("  fp32: {} bytes a pixel in one band, {} in bands of 1 MiB, equal bits: {}\n",
             exact.peak_bytes / pixels, bands.peak_bytes / pixels, bands.frames.equal(exact.frames));
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    const Made rounded = make(config, weights, {.rounded = type, .tf32 = false});
    const auto relative = [](const at::Tensor& a, const at::Tensor& b) {
      return ((a - b).norm() / b.norm()).item<double>();
    };
    const at::Tensor levels =
        (to_uint8_frames(rounded.frames).to(at::kInt) - to_uint8_frames(exact.frames).to(at::kInt)).abs();
    fmt::print(
        "  {}: latent {:.2e}, frames {:.2e} (of the norm); levels of 255 off: {:.2f} on average, {} at most; "
        "{} "
        "bytes a pixel\n",
        c10::toString(type), relative(rounded.latent, exact.latent), relative(rounded.frames, exact.frames),
        levels.to(at::kDouble).mean().item<double>(), levels.max().item<int>(), rounded.peak_bytes / pixels);
  }
}

}  // namespace
}  // namespace wan::vae

int main() {
  wan::vae::measure("Wan 2.1", wan::vae::VaeConfig::wan21(96));
  wan::vae::measure("Wan 2.2", wan::vae::VaeConfig::wan22(160, 256));
}
