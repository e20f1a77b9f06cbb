#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>

namespace wan::gpu {

/// Fills GPU tensors with data that the host makes piece by piece. It uses two page-locked buffers: one piece
/// is copied while the next one is made. One thread at a time may use it, not always the same one.
class Upload {
 public:
  /// Writes elements [first, first + piece.numel()) of the tensor to `piece`, which is on the host.
  using Make = std::function<void(std::int64_t first, const at::Tensor& piece)>;

  Upload();
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;
  ~Upload();

  /// `out`: one-dimensional and contiguous, on a GPU, which becomes this thread's GPU. The copies are in the
  /// order of its current stream. Exceptions of `make` pass through.
  void fill(const at::Tensor& out, const Make& make);

 private:
  struct Slots;
  std::unique_ptr<Slots> slots_;
};

}  // namespace wan::gpu
