#include "gpu/part_timer.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAStream.h>
#include <nvtx3/nvToolsExt.h>

#include <string>
#include <utility>
#include <vector>

#include "gpu/cuda_check.h"
#include "gpu/event.h"

namespace wan::gpu {

/// Points on the compute stream, in order. Events are reused from step to step.
class PartTimer::Events {
 public:
  void add(std::optional<Part> part) {
    if (used_ == events_.size()) events_.emplace_back(cudaEventDefault);
    events_[used_].record(c10::cuda::getCurrentCUDAStream());
    parts_.push_back(part);
    ++used_;
  }

  std::array<double, part_count> take() {
    std::array<double, part_count> seconds{};
    add(std::nullopt);  // also if no part was marked: the caller relies on the wait
    events_[used_ - 1].wait();
    for (std::size_t i = 0; i + 1 < used_; ++i) {
      if (!parts_[i]) continue;
      float elapsed_ms = 0;
      WAN_CUDA_CHECK(cudaEventElapsedTime(&elapsed_ms, events_[i].get(), events_[i + 1].get()));
      seconds[static_cast<std::size_t>(*parts_[i])] += static_cast<double>(elapsed_ms) * 1e-3;
    }
    used_ = 0;
    parts_.clear();
    return seconds;
  }

  /// Closes the range of the part that ends and opens the range of the part that begins.
  void mark_range(std::optional<Part> part) {
    if (in_range_) nvtxRangePop();
    in_range_ = part.has_value();
    if (part) nvtxRangePushA(std::string(to_string(*part)).c_str());
  }

 private:
  std::vector<Event> events_;
  std::vector<std::optional<Part>> parts_;  ///< parts_[i] is the part after event i
  std::size_t used_ = 0;
  bool in_range_ = false;
};

PartTimer::PartTimer() : events_(std::make_unique<Events>()) {}
PartTimer::~PartTimer() = default;

void PartTimer::on_part(std::optional<Part> part) {
  events_->add(part);
  events_->mark_range(part);
}

std::array<double, part_count> PartTimer::take() { return events_->take(); }

Range::Range(const char* name) { nvtxRangePushA(name); }
Range::~Range() { nvtxRangePop(); }

}  // namespace wan::gpu
