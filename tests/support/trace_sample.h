#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "trace/trace_writer.h"

namespace wan::test {

/// Steps of two ranks. Every value follows from step and rank, so that a reader can verify it.
inline std::vector<trace::StepRecord> sample_steps(int step, int item = 0) {
  std::vector<trace::StepRecord> records;
  for (int rank = 0; rank < 2; ++rank) {
    StepEvent event{.world_rank = 4 + rank,
                    .group_rank = rank,
                    .step = step,
                    .step_count = 10,
                    .timestep = 1000.0 - step};
    event.expert = step < 3 ? Expert::high_noise : Expert::low_noise;
    event.start_s = step * 2.0;
    event.wall_s = 1.5 + rank;
    for (std::size_t part = 0; part < part_count; ++part) {
      event.part_wall_s[part] = static_cast<double>(part) + step * 0.5;
      event.part_gpu_s[part] = std::numeric_limits<double>::quiet_NaN();
    }
    event.sent_bytes = (1ULL << 40U) + static_cast<unsigned>(step);
    event.vram_peak_bytes = 7;
    const bool is_first = step == 0;
    records.push_back({.item = item,
                       .stretch = item,
                       .warm_up = static_cast<std::int8_t>(is_first ? 1 : 0),
                       .event = event});
  }
  return records;
}

inline trace::ItemRecord sample_item(const std::string& id) {
  return {.id = id,
          .seed = 1LL << 60U,
          .size = {.width = 832, .height = 480},
          .frames = 81,
          .steps = 10,
          .layout = "cfg2"};
}

/// Every field differs from its default, and from the other fields.
inline StretchEvent sample_stretch() {
  return {.first_step = 3,
          .team_width = 2,
          .first_rank = 4,
          .ranks = 4,
          .layout = "cfg2 x ulysses2",
          .placement = "sharded over 2, offloaded",
          .precision = "bf16",
          .passes = 2,
          .guidance = "3.5:4",
          .solver = "unipc",
          .shift = 5.5,
          .attention = "cudnn",
          .head_chunks = 3,
          .start_s = 12.25};
}

inline PhaseEvent sample_phase(const char* phase, double wall_s) {
  return {.phase = phase, .start_s = 0.5, .wall_s = wall_s, .sent_bytes = 9, .world_rank = 4};
}

}  // namespace wan::test
