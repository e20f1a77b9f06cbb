#include "gpu/background_copies.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <vector>

#include "core/check.h"
#include "gpu/cuda_check.h"
#include "gpu/event.h"

namespace wan::gpu {
namespace {

// One copy keeps the GPU's copy engine until it ends. Small copies of the compute stream get in between
// pieces.
constexpr std::int64_t piece_bytes = std::int64_t{32} << 20;

}  // namespace

struct BackgroundCopies::State {
  struct Place {
    Event free{cudaEventDisableTiming};  ///< on the compute stream: nothing uses the place any more
    Event done{cudaEventDisableTiming};  ///< on the copy stream
    bool is_open = false;
  };

  c10::cuda::CUDAStream stream = c10::cuda::getStreamFromPool(/*isHighPriority=*/false);
  std::vector<Place> places;
};

BackgroundCopies::BackgroundCopies(std::size_t places) : state_(std::make_unique<State>()) {
  state_->places.resize(places);
}

BackgroundCopies::~BackgroundCopies() { finish(); }

void BackgroundCopies::start(std::size_t place, const at::Tensor& out, const at::Tensor& host) {
  WAN_CHECK(out.is_cuda() && out.dim() == 1 && out.is_contiguous() && host.numel() == out.numel(),
            "a background copy needs flat tensors of the same length");
  State::Place& at = state_->places.at(place);
  at.free.record(c10::cuda::getCurrentCUDAStream(state_->stream.device_index()));
  WAN_CUDA_CHECK(cudaStreamWaitEvent(state_->stream.stream(), at.free.get(), 0));
  at.is_open = true;  // also if a call below fails: earlier pieces may be on their way
  const c10::cuda::CUDAStreamGuard guard(state_->stream);
  const std::int64_t piece = piece_bytes / static_cast<std::int64_t>(out.element_size());
  for (std::int64_t first = 0; first < out.numel(); first += piece) {
    const std::int64_t count = std::min(piece, out.numel() - first);
    out.narrow(0, first, count).copy_(host.narrow(0, first, count), /*non_blocking=*/true);
  }
  at.done.record(state_->stream.stream());
}

bool BackgroundCopies::is_open(std::size_t place) const { return state_->places.at(place).is_open; }

void BackgroundCopies::await(std::size_t place) {
  State::Place& at = state_->places.at(place);
  if (!at.is_open) return;
  WAN_CUDA_CHECK(cudaStreamWaitEvent(c10::cuda::getCurrentCUDAStream(state_->stream.device_index()).stream(),
                                     at.done.get(), 0));
  at.is_open = false;
}

void BackgroundCopies::finish() const noexcept {
  static_cast<void>(cudaStreamSynchronize(state_->stream.stream()));
}

}  // namespace wan::gpu
