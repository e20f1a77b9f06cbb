#include "parallel/item_time.h"

namespace wan::parallel {
namespace {

// analysis/results/gpu_h200.md: VAE at 720p, 81 frames, on one GPU; what of it four GPUs do not divide, by
// Amdahl's law; umT5-XXL on a prompt of 120 tokens.
constexpr double vae_pixels = 1280.0 * 720 * 81;
constexpr double vae_encode_s = 1.280;
constexpr double vae_decode_s = 6.038;
constexpr double undivided_encode = (0.387 / vae_encode_s - 0.25) / 0.75;
constexpr double undivided_decode = (1.658 / vae_decode_s - 0.25) / 0.75;
constexpr double full_vae_parameters = 126'892'531;
constexpr double text_encoder_s = 0.019;

// analysis/results/wan_batch_4xh200.h5: its phase "decode" took 9.8 s at 480p on 4 GPUs, of which the VAE's
// share is 0.72 s by the figures above. The rest went into the H.264 of a video of noise; others take less.
constexpr double write_s_per_pixel = (9.8 - 0.72) / (832.0 * 480 * 81);

// "Pinned host to device", bytes per second, measured alone on an H200 (the project's notes on performance).
constexpr double host_to_gpu_bytes_per_s = 55e9;

double divided(double alone_s, double undivided, int ranks) {
  return alone_s * (undivided + (1 - undivided) / ranks);
}

}  // namespace

ItemTime expected_item_time(const PlanInput& input) {
  constexpr double pixels_per_token = 16 * 16;
  const auto frames = static_cast<double>(4 * (input.tokens.frames - 1) + 1);
  const double pixels =
      static_cast<double>(input.tokens.rows * input.tokens.columns) * pixels_per_token * frames;
  // A narrower autoencoder, as toy models have, works less in the proportion of its weights.
  const double vae_share =
      pixels / vae_pixels * static_cast<double>(input.vae_parameters) / full_vae_parameters;
  const Plan plan = make_plan(input);
  const int ranks = input.grid.group_size;
  ItemTime time;
  time.text_s = text_encoder_s;
  if (input.transformer.model_type == "i2v")
    time.encode_s = divided(vae_encode_s, undivided_encode, ranks) * vae_share;
  // Both experts come in for every item: host_bytes holds each once.
  time.swap_s = static_cast<double>(plan.host_bytes) / host_to_gpu_bytes_per_s;
  time.denoise_s = plan.step_s * input.sample_steps;
  time.decode_s = divided(vae_decode_s, undivided_decode, ranks) * vae_share;
  time.write_s = write_s_per_pixel * pixels;
  return time;
}

}  // namespace wan::parallel
