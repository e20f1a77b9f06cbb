#include "gpu/upload.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <array>

#include "core/check.h"
#include "gpu/cuda_check.h"
#include "gpu/event.h"
#include "gpu/memory.h"

namespace wan::gpu {
namespace {

constexpr std::int64_t piece_bytes = std::int64_t{4} << 20;
constexpr std::size_t slot_count = 2;

}  // namespace

struct Upload::Slots {
  struct Slot {
    at::Tensor memory = make_pinned({piece_bytes}, at::kByte);
    Event sent{cudaEventDisableTiming};  ///< recorded after the copy out of `memory`
  };

  std::array<Slot, slot_count> all;
  std::size_t next = 0;  ///< the slot that the next piece uses
};

Upload::Upload() : slots_(std::make_unique<Slots>()) {}

Upload::~Upload() {
  for (const Slots::Slot& slot : slots_->all) slot.sent.wait_quietly();
}

void Upload::fill(const at::Tensor& out, const Make& make) {
  WAN_CHECK(out.is_cuda() && out.dim() == 1 && out.is_contiguous(), "an upload needs a flat tensor on a GPU");
  WAN_CUDA_CHECK(cudaSetDevice(out.device().index()));  // a new thread would use GPU 0
  const std::int64_t piece_elements = piece_bytes / static_cast<std::int64_t>(out.element_size());
  for (std::int64_t first = 0; first < out.numel(); first += piece_elements) {
    const std::int64_t count = std::min(piece_elements, out.numel() - first);
    Slots::Slot& slot = slots_->all[slots_->next];
    slots_->next = (slots_->next + 1) % slot_count;
    slot.sent.wait();
    const at::Tensor piece = slot.memory.view(out.scalar_type()).narrow(0, 0, count);
    make(first, piece);
    out.narrow(0, first, count).copy_(piece, /*non_blocking=*/true);
    slot.sent.record(c10::cuda::getCurrentCUDAStream(out.device().index()));
  }
}

}  // namespace wan::gpu
