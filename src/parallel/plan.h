#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/model_config.h"
#include "comm/rank_grid.h"
#include "kernels/rotary.h"
#include "model/model_kind.h"
#include "parallel/machine_model.h"
#include "parallel/site_figures.h"
#include "parallel/weight_placement.h"
#include "vae/vae_config.h"

namespace wan::parallel {

/// The inputs of a plan. Planning makes no tensor and reads no file.
struct PlanInput {
  checkpoint::TransformerConfig transformer;
  checkpoint::TextEncoderConfig text_encoder;
  std::optional<checkpoint::ImageEncoderConfig> image_encoder = {};  ///< placed as the text encoder; in fp32
  std::int64_t vae_parameters = 0;
  vae::Family vae_family = vae::Family::wan21;
  int vae_element_bytes = 4;  ///< of the autoencoder's activations and weights: 2 where it rounds to 16 bits
  comm::GridShape grid;
  model::VideoGeometry geometry = model::wan21_geometry;
  int experts = 2;
  bool has_files = true;               ///< from which an expert can be read again; false: random weights
  kernels::TokenGrid tokens;           ///< token grid of the planned request
  int sample_steps = 40;               ///< steps of the planned request
  bool guided = true;                  ///< whether steps need two predictions: all but `unguided_steps`
  int unguided_steps = 0;              ///< of a guided request's steps: those whose expert has guidance 1
  comm::GridShape unguided_grid = {};  ///< the same group in these steps
  WeightPlacement placement = {};
  bool on_gpu = false;                       ///< else everything lies in host memory
  MachineModel machine = unknown_machine();  ///< one of its GPUs per rank; times are its
  int element_bytes = 2;                     ///< of weights and matrix work: 2 in bf16, 4 in fp32
  /// A site's own figures, in place of the machine's where it measured a layout; null: none. They count in
  /// expected times of items only.
  std::shared_ptr<const SiteFigures> site = {};
};

/// A request as its unguided steps are made: one pass, in their own division of the ranks.
PlanInput unguided_part(PlanInput input);

/// The memory and work of one rank. Work and bytes of a step are those of a step with as many predictions as
/// `guided` says.
struct Plan {
  comm::GridShape grid;
  std::int64_t local_tokens = 0;
  using Parts = std::vector<std::pair<std::string, std::int64_t>>;
  Parts bytes = {};        ///< for each rank, permanently, by part
  Parts phase_bytes = {};  ///< for each rank in addition, by phase of a request; phases never overlap
  std::int64_t wire_bytes_per_step = 0;  ///< bytes that each rank sends to others
  double linear_flop_per_step = 0;       ///< for each rank
  double attention_flop_per_step = 0;    ///< for a rank with the most heads
  double step_s = 0;                     ///< expected on the input's machine, in bf16
  double unguided_step_s = 0;            ///< the same of the input's unguided steps; 0: it has none
  std::int64_t host_bytes = 0;           ///< page-locked host memory in which a GPU rank keeps both experts
  std::int64_t turn_bytes = 0;           ///< that a rank reads when all experts have taken their turns

  /// The most bytes in use at a time.
  std::int64_t total_bytes() const;
};

Plan make_plan(const PlanInput& input);

/// Seconds of all steps, those without guidance among them.
double all_steps_s(const PlanInput& input, double step_s, double unguided_step_s);

/// Bytes that making one video needs on a rank beside the weights, in its most demanding phase. The text
/// phase does not count.
std::int64_t request_bytes(const PlanInput& input);

}  // namespace wan::parallel
