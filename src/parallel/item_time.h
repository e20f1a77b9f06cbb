#pragma once

#include "parallel/plan.h"

namespace wan::parallel {

/// Expected seconds of an item by phase, on a group with one GPU of the input's machine for each rank, in
/// bf16. They leave out work that is done once in a run: reading the checkpoint and the text encoder's
/// weights.
struct ItemTime {
  double text_s = 0;
  double encode_s = 0;  ///< 0 without an image
  double swap_s = 0;    ///< moving the experts between host and GPU
  double denoise_s = 0;
  double decode_s = 0;
  double write_s = 0;  ///< H.264 encoding on the host
  double total_s() const { return text_s + encode_s + swap_s + denoise_s + decode_s + write_s; }
};

/// From the sizes alone (video, steps, layout, where the weights lie) and the machine's figures.
ItemTime expected_item_time(const PlanInput& input);

}  // namespace wan::parallel
