#pragma once

#include <cuda_runtime_api.h>

#include <utility>

#include "gpu/cuda_check.h"

namespace wan::gpu {

/// A CUDA event of the device that is current when it is made. Its end ignores errors: a device that has
/// failed says so at the next call that is checked, and a destructor must not throw.
class Event {
 public:
  /// `flags`: cudaEventDefault, cudaEventDisableTiming, ... Throws Error.
  explicit Event(unsigned flags) { WAN_CUDA_CHECK(cudaEventCreateWithFlags(&event_, flags)); }
  Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  Event& operator=(Event&&) = delete;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() {
    if (event_ != nullptr) static_cast<void>(cudaEventDestroy(event_));
  }

  cudaEvent_t get() const { return event_; }
  /// Throws Error.
  void record(cudaStream_t stream) { WAN_CUDA_CHECK(cudaEventRecord(event_, stream)); }
  /// Waits until all before the last record() is done; at once if there was none. Throws Error.
  void wait() const { WAN_CUDA_CHECK(cudaEventSynchronize(event_)); }
  /// The same for destructors: an error is left to the next call that is checked.
  void wait_quietly() const noexcept { static_cast<void>(cudaEventSynchronize(event_)); }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace wan::gpu
