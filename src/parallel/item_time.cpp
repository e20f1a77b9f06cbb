#include "parallel/item_time.h"

namespace wan::parallel {
namespace {

constexpr double full_vae_parameters = 126'892'531;  // of the Wan 2.1 autoencoder (model.md 1.3)

double divided(double alone_s, double undivided, int ranks) {
  return alone_s * (undivided + (1 - undivided) / ranks);
}

}  // namespace

ItemTime expected_item_time(const PlanInput& input) {
  const MachineModel& machine = input.machine;
  const auto pixels =
      static_cast<double>(input.geometry.frame_pixels(input.tokens) * input.geometry.frame_num(input.tokens));
  // A narrower autoencoder, as in toy models, takes less time in proportion to its weights.
  const double vae_pixels = pixels * static_cast<double>(input.vae_parameters) / full_vae_parameters;
  const Plan plan = make_plan(input);
  const int ranks = input.grid.group_size;
  ItemTime time;
  time.text_s = machine.text_encode_s;
  if (input.transformer.model_type == "i2v") {
    time.encode_s = divided(machine.vae_encode_s_per_pixel * vae_pixels, machine.vae_encode_undivided, ranks);
  }
  // Both experts are copied in for every item. host_bytes counts each once.
  time.swap_s = static_cast<double>(plan.host_bytes) / machine.host_to_gpu_bytes_per_s;
  time.denoise_s = plan.step_s * input.sample_steps;
  time.decode_s = divided(machine.vae_decode_s_per_pixel * vae_pixels, machine.vae_decode_undivided, ranks);
  time.write_s = machine.h264_s_per_pixel * pixels;
  return time;
}

}  // namespace wan::parallel
