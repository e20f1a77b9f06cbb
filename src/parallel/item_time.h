#pragma once

#include <string>

#include "parallel/plan.h"

namespace wan::parallel {

/// The sources of an item's seconds; empty: the machine's figures.
struct ItemSources {
  std::string text, encode, step, unguided_step, decode, write;
};

/// Expected seconds of an item by phase, on a group with one GPU of the input's machine for each rank, in
/// bf16, or by the site's own figures where it has them. They leave out work that is done once in a run:
/// reading the checkpoint and the text encoder's weights.
struct ItemTime {
  double text_s = 0;
  double encode_s = 0;  ///< 0 without an image
  double swap_s = 0;    ///< waiting for experts that come from the host, or reading them for their turns
  double denoise_s = 0;
  double decode_s = 0;
  double write_s = 0;          ///< H.264 encoding on the host
  double step_s = 0;           ///< one step of `denoise_s`
  double unguided_step_s = 0;  ///< one of its steps without guidance, if others have it; 0: there are none
  double copy_s = 0;           ///< copying one expert from the host, beside other work; 0: none waits there
  ItemSources sources = {};
  double total_s() const { return text_s + encode_s + swap_s + denoise_s + decode_s + write_s; }
};

/// From the sizes alone (video, steps, layout, where the weights lie), and from the figures of the machine
/// and the site.
ItemTime expected_item_time(const PlanInput& input);

/// Items that a group takes through the first expert before it reads the second, if experts take turns: so
/// many that reading takes about 2 % of their steps' time, but at most 16, because no video is finished
/// before the second expert's turn. 0 for experts that take no turns.
int items_in_turn(const PlanInput& input);

}  // namespace wan::parallel
