#pragma once

#include <array>
#include <memory>

#include "model/part_clock.h"

namespace wan::gpu {

/// Divides a GPU's time among the parts of a step. It records an event on the compute stream wherever the
/// issued work passes from one part to another. So a part that waits for another stream is charged with the
/// wait. It also marks the parts as NVTX ranges for Nsight.
class PartTimer final : public PartListener {
 public:
  PartTimer();
  PartTimer(const PartTimer&) = delete;
  PartTimer& operator=(const PartTimer&) = delete;
  ~PartTimer() override;

  /// Throws Error.
  void on_part(std::optional<Part> part) override;

  /// Waits for the work issued since the last call and returns its seconds for each part. Returns zeros if
  /// on_part() was not called. Throws Error.
  std::array<double, part_count> take();

 private:
  class Events;
  std::unique_ptr<Events> events_;
};

/// A named range on Nsight's timeline. It lasts as long as the object.
class Range {
 public:
  explicit Range(const char* name);
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;
  ~Range();  // NOLINT(performance-trivially-destructible): trivial only in a build without CUDA
};

}  // namespace wan::gpu
