#include "model/value_names.h"

#include <algorithm>
#include <array>
#include <utility>

namespace wan {

std::optional<std::string_view> value_called(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 23> values{
      {{"base_seed", "seed"},
       {"seed", "base_seed"},
       {"n_prompt", "negative_prompt"},
       {"neg_prompt", "negative_prompt"},
       {"caption", "prompt"},
       {"img", "image"},
       {"image_path", "image"},
       {"resolution", "size"},
       {"width", "size"},
       {"height", "size"},
       {"num_frames", "frame_num"},
       {"frames", "frame_num"},
       {"steps", "sample_steps"},
       {"sampling_steps", "sample_steps"},
       {"num_inference_steps", "sample_steps"},
       {"shift", "sample_shift"},
       {"flow_shift", "sample_shift"},
       {"cfg_scale", "sample_guide_scale"},
       {"guide_scale", "sample_guide_scale"},
       {"guidance_scale", "sample_guide_scale"},
       {"solver", "sample_solver"},
       {"sampler", "sample_solver"},
       {"scheduler", "sample_solver"}}};
  const auto found = std::ranges::find(values, name, [](const auto& entry) { return entry.first; });
  if (found == values.end()) return std::nullopt;
  return found->second;
}

}  // namespace wan
