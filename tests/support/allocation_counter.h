#pragma once

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <cstdint>
#include <memory>

namespace wan::test {

/// Counts the tensor memory that this thread allocates during the object's life: the largest single tensor,
/// the living tensors, and their peak.
class AllocationCounter {
 public:
  AllocationCounter() : guard_(c10::DebugInfoKind::PROFILER_STATE, report_) {}

  std::int64_t largest_bytes() const { return report_->largest_bytes; }
  std::int64_t alive_bytes() const { return report_->alive_bytes; }
  std::int64_t peak_bytes() const { return report_->peak_bytes; }

 private:
  struct Report final : c10::MemoryReportingInfoBase {
    void reportMemoryUsage(void* /*data*/, std::int64_t bytes, std::size_t /*allocated*/,
                           std::size_t /*reserved*/, c10::Device /*device*/) override {
      largest_bytes = std::max(largest_bytes, bytes);
      alive_bytes += bytes;
      peak_bytes = std::max(peak_bytes, alive_bytes);
    }
    bool memoryProfilingEnabled() const override { return true; }

    std::int64_t largest_bytes = 0;
    std::int64_t alive_bytes = 0;
    std::int64_t peak_bytes = 0;
  };

  std::shared_ptr<Report> report_ = std::make_shared<Report>();
  c10::DebugInfoGuard guard_;
};

}  // namespace wan::test
