#include "parallel/item_time.h"

#include <algorithm>
#include <cmath>
#include <optional>

namespace wan::parallel {
namespace {

/// The cost of an autoencoder. The machine's figures are those of the full Wan 2.1 autoencoder.
struct VaeCost {
  double full_parameters;  ///< (model.md 1.5)
  double encode, decode;   ///< time for a pixel of a frame, relative to that of Wan 2.1
};
constexpr VaeCost wan21_vae{.full_parameters = 126'892'531, .encode = 1, .decode = 1};
// analysis/results/vae_h200.md. One frame is encoded, which fills a GPU less than a clip.
constexpr VaeCost wan22_vae{.full_parameters = 704'688'668, .encode = 6.27, .decode = 1.90};

/// Takes a site's figure in place of the machine's.
void take(const std::optional<SitedSeconds>& figure, double& seconds, std::string& source) {
  if (!figure) return;
  seconds = figure->seconds;
  source = figure->source;
}

void take_site_figures(const PlanInput& input, ItemTime& time) {
  const SiteItem site = site_item(*input.site, input);
  take(site.text, time.text_s, time.sources.text);
  if (time.encode_s > 0) take(site.encode, time.encode_s, time.sources.encode);
  take(site.step, time.step_s, time.sources.step);
  if (time.unguided_step_s > 0) {
    const SiteItem unguided = site_item(*input.site, unguided_part(input));
    take(unguided.step, time.unguided_step_s, time.sources.unguided_step);
  }
  take(site.decode, time.decode_s, time.sources.decode);
  take(site.write, time.write_s, time.sources.write);
}

double divided(double alone_s, double undivided, int ranks) {
  return alone_s * (undivided + (1 - undivided) / ranks);
}

/// An estimate: a node's disks and parallel file systems give a rank a few GB/s.
constexpr double checkpoint_bytes_per_s = 2e9;

/// Seconds in which a rank reads all experts.
double turns_s(const Plan& plan) { return static_cast<double>(plan.turn_bytes) / checkpoint_bytes_per_s; }

/// Seconds in which computing waits for copies from the host. Units (blocks) come in one after the other. The
/// only expert's begin with the first step. Each of two experts begins to come in with the last step of the
/// other, or with the last step of the item before, and go on while its frames are decoded.
double copies_awaited_s(const PlanInput& input, const ItemTime& time) {
  const double units = static_cast<double>(input.transformer.num_layers) + 2;
  const double per_unit_s = (time.copy_s - time.step_s) / units;
  if (input.experts == 1) return time.copy_s / units + std::max(0.0, (units - 1) * per_unit_s);
  const double other_step_s = time.unguided_step_s > 0 ? time.unguided_step_s : time.step_s;
  const double before_switch_s = (time.step_s + other_step_s) * (1 - 1 / units);
  return std::max(0.0, time.copy_s - before_switch_s) +
         std::max(0.0, time.copy_s - before_switch_s - time.decode_s);
}

}  // namespace

int items_in_turn(const PlanInput& input) {
  if (!input.placement.transformers.takes_turns()) return 0;
  constexpr double reading_share = 0.02;
  constexpr double most_items = 16;
  const Plan plan = make_plan(input);
  const double steps_s = all_steps_s(input, plan.step_s, plan.unguided_step_s);
  const double items = turns_s(plan) / (reading_share * steps_s);
  return static_cast<int>(std::clamp(std::ceil(items), 1.0, most_items));
}

ItemTime expected_item_time(const PlanInput& input) {
  const MachineModel& machine = input.machine;
  const auto pixels =
      static_cast<double>(input.geometry.frame_pixels(input.tokens) * input.geometry.frame_num(input.tokens));
  // A narrower autoencoder, as in toy models, takes less time in proportion to its weights.
  const bool is_wan22 = input.vae_family == vae::Family::wan22;
  const VaeCost& vae = is_wan22 ? wan22_vae : wan21_vae;
  const double vae_pixels = pixels * static_cast<double>(input.vae_parameters) / vae.full_parameters;
  const Plan plan = make_plan(input);
  const int ranks = input.grid.group_size;
  ItemTime time;
  time.text_s = machine.text_encode_s;
  const double encoded_share =  // of the frames; a request of ti2v may also have no image
      input.transformer.model_type == "i2v" ? 1.0
      : input.transformer.model_type == "ti2v"
          ? 1.0 / static_cast<double>(input.geometry.frame_num(input.tokens))
          : 0.0;
  time.encode_s = divided(machine.vae_encode_s_per_pixel * vae_pixels * encoded_share * vae.encode,
                          machine.vae_encode_undivided, ranks);
  time.copy_s = static_cast<double>(plan.host_bytes) / input.experts / machine.host_to_gpu_bytes_per_s;
  time.step_s = plan.step_s;
  time.unguided_step_s = plan.unguided_step_s;
  time.decode_s =
      divided(machine.vae_decode_s_per_pixel * vae_pixels * vae.decode, machine.vae_decode_undivided, ranks);
  time.write_s = machine.h264_s_per_pixel * pixels;
  if (input.site) take_site_figures(input, time);
  if (const int items = items_in_turn(input); items > 0) {
    time.swap_s = turns_s(plan) / items;
  } else if (time.copy_s > 0) {
    time.swap_s = copies_awaited_s(input, time);
  }
  time.denoise_s = all_steps_s(input, time.step_s, time.unguided_step_s);
  return time;
}

}  // namespace wan::parallel
