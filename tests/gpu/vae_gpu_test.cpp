#include <ATen/ATen.h>
#include <c10/cuda/CUDACachingAllocator.h>

#include <cmath>

#include "gpu/gpu_test.h"
#include "vae/operations.h"

namespace wan::kernels {
namespace {

class VaeAttentionGpu : public GpuTest {
 protected:
  /// A third of a map's channels, as the attention block passes queries.
  static at::Tensor map_of(std::int64_t frames, std::int64_t rows, std::int64_t columns) {
    return at::randn({frames, rows, columns, 3 * 384}, at::kCUDA).narrow(3, 384, 384);
  }
};

TEST_F(VaeAttentionGpu, MatchesFp64) {
  const at::Tensor q = map_of(2, 15, 26);
  const at::Tensor k = map_of(2, 30, 26);
  const at::Tensor v = map_of(2, 30, 26);
  const auto tokens = [](const at::Tensor& map) {
    return map.flatten(1, 2).to(at::kDouble);
  };  // [T, h * W, C]
  const at::Tensor scores = at::matmul(tokens(q), tokens(k).transpose(1, 2)) / std::sqrt(384.0);
  const at::Tensor exact = at::matmul(at::softmax(scores, -1), tokens(v)).view(q.sizes());
  EXPECT_LT(relative_error(vae::attend(q, k, v), exact), 3e-6);
}

TEST_F(VaeAttentionGpu, HoldsNoScores) {
  namespace allocator = c10::cuda::CUDACachingAllocator;
  constexpr auto all = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const at::Tensor map = map_of(1, 90, 160);  // 720p: the scores would take 0.8 GB
  allocator::resetPeakStats(0);
  const std::int64_t before_bytes = allocator::getDeviceStats(0).allocated_bytes[all].current;
  const at::Tensor out = vae::attend(map, map, map);
  const std::int64_t peak_bytes = allocator::getDeviceStats(0).allocated_bytes[all].peak - before_bytes;
  EXPECT_LT(peak_bytes, std::int64_t{200} << 20);
  EXPECT_TRUE(at::isfinite(out).all().item<bool>());
}

}  // namespace
}  // namespace wan::kernels
