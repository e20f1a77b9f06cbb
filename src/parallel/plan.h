#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/model_config.h"
#include "comm/rank_grid.h"
#include "kernels/rotary.h"
#include "model/model_kind.h"
#include "parallel/machine_model.h"
#include "parallel/weight_placement.h"

namespace wan::parallel {

/// Everything a plan is computed from. No tensor is made and no file is read.
struct PlanInput {
  checkpoint::TransformerConfig transformer;
  checkpoint::TextEncoderConfig text_encoder;
  std::int64_t vae_parameters = 0;
  comm::GridShape grid;
  model::VideoGeometry geometry = model::wan21_geometry;
  int experts = 2;
  kernels::TokenGrid tokens;  ///< of the request that is planned for
  int sample_steps = 40;      ///< the same request's
  bool guided = true;
  WeightPlacement placement = {};
  bool on_gpu = false;                         ///< else everything lies in host memory
  MachineModel machine = reference_machine();  ///< one of its GPUs per rank; times are its
  int element_bytes = 2;                       ///< of weights and matrix work: 2 in bf16, 4 in fp32
};

/// What one rank will hold and do.
struct Plan {
  comm::GridShape grid;
  std::int64_t local_tokens = 0;
  using Parts = std::vector<std::pair<std::string, std::int64_t>>;
  Parts bytes = {};        ///< by part, per rank, all the time
  Parts phase_bytes = {};  ///< per rank, by phase of a request, on top of those: never two at a time
  std::int64_t wire_bytes_per_step = 0;  ///< handed to other ranks, per rank
  double linear_flop_per_step = 0;       ///< per rank
  double attention_flop_per_step = 0;    ///< per rank
  double step_s = 0;                     ///< expected on the input's machine, in bf16
  std::int64_t host_bytes = 0;           ///< page-locked host memory that a GPU rank keeps both experts in

  /// The most in use at a time.
  std::int64_t total_bytes() const;
};

Plan make_plan(const PlanInput& input);

/// What making one video takes on a rank beside the weights, at its most demanding phase but the text's.
std::int64_t request_bytes(const PlanInput& input);

}  // namespace wan::parallel
