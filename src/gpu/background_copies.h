#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <memory>

namespace wan::gpu {

/// Copies from page-locked host memory to a GPU, on a stream of their own beside the compute stream. The two
/// streams wait for each other by events, and the host waits for neither. One thread at a time may use it.
class BackgroundCopies {
 public:
  /// For tensors in so many places on the thread's GPU. Throws Error.
  explicit BackgroundCopies(std::size_t places);
  BackgroundCopies(const BackgroundCopies&) = delete;
  BackgroundCopies& operator=(const BackgroundCopies&) = delete;
  /// Waits for the copies.
  ~BackgroundCopies();

  /// Copies `host` to `out` after all work that was issued to the compute stream so far, and after the copies
  /// before. Both are flat, and must live until the copy has been waited for. Throws Error.
  void start(std::size_t place, const at::Tensor& out, const at::Tensor& host);
  /// Whether a copy to the place was started that await() has not been called for.
  bool is_open(std::size_t place) const;
  /// Work that is issued to the compute stream from now on waits for the copy to the place. Throws Error.
  void await(std::size_t place);
  /// The host waits for all copies. The next checked call reports an error.
  void finish() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace wan::gpu
