#pragma once

#include <array>
#include <memory>

#include "core/part_clock.h"

namespace wan::gpu {

/// Divides a GPU's time among the parts of a step: an event goes into the compute stream wherever the work
/// issued passes from one part to another, so a part that waits for another stream is charged the wait. Also
/// marks the parts as NVTX ranges for Nsight.
class PartTimer final : public PartListener {
 public:
  PartTimer();
  PartTimer(const PartTimer&) = delete;
  PartTimer& operator=(const PartTimer&) = delete;
  ~PartTimer() override;

  /// Throws Error.
  void on_part(std::optional<Part> part) override;

  /// Waits for the work issued since the last call and returns its seconds by part, none if on_part() was not
  /// called. Throws Error.
  std::array<double, part_count> take();

 private:
  class Events;
  std::unique_ptr<Events> events_;
};

/// A named range on Nsight's timeline for as long as it lives.
class Range {
 public:
  explicit Range(const char* name);
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;
  ~Range();  // NOLINT(performance-trivially-destructible): trivial only in a build without CUDA
};

}  // namespace wan::gpu
