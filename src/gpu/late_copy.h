#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

namespace wan::gpu {

/// Copies tensors of a GPU to the host, one after the other, while the GPU goes on with later work: finish()
/// waits for the copy alone.
class LateCopy {
 public:
  LateCopy();
  LateCopy(const LateCopy&) = delete;
  LateCopy& operator=(const LateCopy&) = delete;
  LateCopy(LateCopy&&) = delete;
  LateCopy& operator=(LateCopy&&) = delete;
  ~LateCopy();

  /// Copies `values` behind the work that was issued before. None may be under way. `room`: elements for
  /// which page-locked memory is taken if this copy needs some; it stays for later copies. Throws Error.
  void begin(const at::Tensor& values, std::int64_t room);
  bool is_under_way() const;
  /// Waits for the copy that is under way, and returns its values in memory of their own. Throws Error.
  at::Tensor finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace wan::gpu
