#pragma once

#include <cuda_runtime_api.h>

#include "core/unique_handle.h"
#include "gpu/cuda_check.h"

namespace wan::gpu {

struct EventCloser {
  using Value = cudaEvent_t;
  static constexpr cudaEvent_t none() noexcept { return nullptr; }
  static void close(cudaEvent_t event) noexcept { static_cast<void>(cudaEventDestroy(event)); }
};

/// A CUDA event of the device that is current at its construction. Its destructor ignores errors, because a
/// destructor must not throw. A failed device reports the error at the next checked call.
class Event {
 public:
  /// `flags`: cudaEventDefault, cudaEventDisableTiming, ... Throws Error.
  explicit Event(unsigned flags) {
    cudaEvent_t event = nullptr;
    WAN_CUDA_CHECK(cudaEventCreateWithFlags(&event, flags));
    event_.reset(event);
  }

  cudaEvent_t get() const { return event_.get(); }
  /// Throws Error.
  void record(cudaStream_t stream) { WAN_CUDA_CHECK(cudaEventRecord(event_.get(), stream)); }
  /// Waits until all work before the last record() is done. Returns at once if record() was never called.
  /// Throws Error.
  void wait() const { WAN_CUDA_CHECK(cudaEventSynchronize(event_.get())); }
  /// The same for destructors. The next checked call reports an error.
  void wait_quietly() const noexcept { static_cast<void>(cudaEventSynchronize(event_.get())); }

 private:
  UniqueHandle<EventCloser> event_;
};

}  // namespace wan::gpu
