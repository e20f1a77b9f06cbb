#pragma once

#include <algorithm>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace wan::fuzz {

/// Reads the first and the last elements of each tensor of floating-point numbers, up to a few tensors.
inline void read_some(const checkpoint::Checkpoint& checkpoint) {
  constexpr std::int64_t most_elements = 256;
  int tensors = 16;
  for (const auto& [name, entry] : checkpoint.entries()) {
    if (!checkpoint::is_floating(entry.dtype) || tensors-- == 0) continue;
    std::vector<float> values(static_cast<std::size_t>(std::min(entry.elements(), most_elements)));
    checkpoint.read_floats(entry, 0, values);
    checkpoint.read_floats(entry, entry.elements() - static_cast<std::int64_t>(values.size()), values);
  }
}

}  // namespace wan::fuzz
