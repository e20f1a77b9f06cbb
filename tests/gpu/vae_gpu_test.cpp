#include <ATen/ATen.h>
#include <c10/cuda/CUDACachingAllocator.h>

#include <cmath>

#include "gpu/gpu_test.h"
#include "vae/operations.h"

namespace wan::kernels {
namespace {

class VaeAttentionGpu : public GpuTest {
 protected:
  /// A map [C, T, h, W] in the form that the attention block passes: [T, 1, h * W, C], with channels far
  /// apart.
  static at::Tensor tokens_of_map(std::int64_t frames, std::int64_t rows, std::int64_t columns) {
    return at::randn({384, frames, rows, columns}, at::kCUDA).flatten(2).permute({1, 2, 0}).unsqueeze(1);
  }
};

TEST_F(VaeAttentionGpu, MatchesFp64) {
  const at::Tensor q = tokens_of_map(2, 15, 26);
  const at::Tensor k = tokens_of_map(2, 30, 26);
  const at::Tensor v = tokens_of_map(2, 30, 26);
  const at::Tensor scores =
      at::matmul(q.to(at::kDouble), k.to(at::kDouble).transpose(2, 3)) / std::sqrt(384.0);
  const at::Tensor exact = at::matmul(at::softmax(scores, -1), v.to(at::kDouble));
  EXPECT_LT(relative_error(vae::attend(q, k, v), exact), 3e-6);
}

TEST_F(VaeAttentionGpu, HoldsNoScores) {
  namespace allocator = c10::cuda::CUDACachingAllocator;
  constexpr auto all = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const at::Tensor map = tokens_of_map(1, 90, 160);  // 720p: the scores would take 0.8 GB
  allocator::resetPeakStats(0);
  const std::int64_t before_bytes = allocator::getDeviceStats(0).allocated_bytes[all].current;
  const at::Tensor out = vae::attend(map, map, map);
  const std::int64_t peak_bytes = allocator::getDeviceStats(0).allocated_bytes[all].peak - before_bytes;
  EXPECT_LT(peak_bytes, std::int64_t{200} << 20);
  EXPECT_TRUE(at::isfinite(out).all().item<bool>());
}

}  // namespace
}  // namespace wan::kernels
