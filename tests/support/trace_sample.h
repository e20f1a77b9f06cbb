#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "trace/trace_writer.h"

namespace wan::test {

/// Steps of two ranks. Every value follows from step and rank, so that a reader can verify it.
inline std::vector<StepEvent> sample_steps(int step) {
  std::vector<StepEvent> events;
  for (int rank = 0; rank < 2; ++rank) {
    StepEvent event{
        .world_rank = 4 + rank, .group_rank = rank, .step = step, .step_count = 10, .timestep = 1000 - step};
    event.expert = step < 3 ? Expert::high_noise : Expert::low_noise;
    event.start_s = step * 2.0;
    event.wall_s = 1.5 + rank;
    for (std::size_t part = 0; part < part_count; ++part) {
      event.part_wall_s[part] = static_cast<double>(part) + step * 0.5;
      event.part_gpu_s[part] = std::numeric_limits<double>::quiet_NaN();
    }
    event.sent_bytes = (1ULL << 40U) + static_cast<unsigned>(step);
    event.vram_peak_bytes = 7;
    events.push_back(event);
  }
  return events;
}

inline trace::ItemRecord sample_item(const std::string& id) {
  return {.id = id,
          .seed = 1LL << 60U,
          .size = {.width = 832, .height = 480},
          .frames = 81,
          .steps = 10,
          .layout = "cfg2"};
}

}  // namespace wan::test
