#include "gpu/late_copy.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>

#include "core/check.h"
#include "gpu/event.h"
#include "gpu/memory.h"

namespace wan::gpu {

struct LateCopy::State {
  Event copied{cudaEventDisableTiming};
  at::Tensor memory;  // page-locked bytes
  at::Tensor copy;    // a view of them; undefined if no copy is under way
};

LateCopy::LateCopy() = default;

LateCopy::~LateCopy() {
  if (is_under_way()) state_->copied.wait_quietly();  // the GPU writes into the memory
}

bool LateCopy::is_under_way() const { return state_ != nullptr && state_->copy.defined(); }

void LateCopy::begin(const at::Tensor& values, std::int64_t room) {
  WAN_CHECK(!is_under_way(), "a copy to the host begins before the last one has ended");
  if (state_ == nullptr) state_ = std::make_unique<State>();
  const auto element_bytes = static_cast<std::int64_t>(values.element_size());
  const std::int64_t bytes = values.numel() * element_bytes;
  if (!state_->memory.defined() || state_->memory.numel() < bytes) {
    state_->memory.reset();
    state_->memory = make_pinned({std::max(bytes, room * element_bytes)}, at::kByte);
  }
  const at::Tensor copy = state_->memory.narrow(0, 0, bytes).view(values.scalar_type()).view(values.sizes());
  copy.copy_(values, /*non_blocking=*/true);
  state_->copied.record(c10::cuda::getCurrentCUDAStream());
  state_->copy = copy;
}

at::Tensor LateCopy::finish() {
  WAN_CHECK(is_under_way(), "no copy to the host is under way");
  state_->copied.wait();
  at::Tensor result = state_->copy.clone();
  state_->copy.reset();
  return result;
}

}  // namespace wan::gpu
