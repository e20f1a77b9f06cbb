#pragma once

#include <algorithm>

namespace wan::store {

/// How much there is to do for an item, in two kinds whose seconds a run finds out as it goes: denoising
/// steps, in units of the plan's expected time, and everything else, in pixels of the video. Only ratios
/// between items count.
struct ItemWork {
  double steps = 1;
  double rest = 1;

  ItemWork& operator+=(const ItemWork& other) {
    steps += other.steps;
    rest += other.rest;
    return *this;
  }
};

/// Rows that are still to do.
struct WorkLeft {
  ItemWork sum{.steps = 0, .rest = 0};
  ItemWork largest{.steps = 0, .rest = 0};  ///< in each kind

  void add(const ItemWork& item) {
    sum += item;
    largest = {.steps = std::max(largest.steps, item.steps), .rest = std::max(largest.rest, item.rest)};
  }
};

}  // namespace wan::store
