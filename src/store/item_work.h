#pragma once

#include <algorithm>

namespace wan::store {

/// The work of an item, in two kinds: denoising steps, in units of the plan's expected time, and everything
/// else, in pixels of the video. A run learns the seconds of each kind as it goes. Only ratios between items
/// count.
struct ItemWork {
  double steps = 1;
  double rest = 1;

  ItemWork& operator+=(const ItemWork& other) {
    steps += other.steps;
    rest += other.rest;
    return *this;
  }
};

/// The work of the rows that are not done yet.
struct WorkLeft {
  ItemWork sum{.steps = 0, .rest = 0};
  ItemWork largest{.steps = 0, .rest = 0};  ///< in each kind by itself

  void add(const ItemWork& item) {
    sum += item;
    largest = {.steps = std::max(largest.steps, item.steps), .rest = std::max(largest.rest, item.rest)};
  }
};

}  // namespace wan::store
