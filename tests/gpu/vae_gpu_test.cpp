#include <ATen/ATen.h>
#include <c10/cuda/CUDACachingAllocator.h>

#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "gpu/gpu_test.h"
#include "vae/operations.h"
#include "vae/resample.h"

namespace wan::kernels {
namespace {

class VaeAttentionGpu : public GpuTest {
 protected:
  /// A third of a map's channels, as the attention block passes queries.
  static at::Tensor map_of(std::int64_t frames, std::int64_t rows, std::int64_t columns) {
    return at::randn({frames, rows, columns, 3 * 384}, at::kCUDA).narrow(3, 384, 384);
  }
};

at::Tensor attention_in_fp64(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto tokens = [](const at::Tensor& map) {
    return map.flatten(1, 2).to(at::kDouble);
  };  // [T, h * W, C]
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(3)));
  const at::Tensor scores = at::matmul(tokens(q), tokens(k).transpose(1, 2)) * scale;
  return at::matmul(at::softmax(scores, -1), tokens(v)).view(q.sizes());
}

TEST_F(VaeAttentionGpu, MatchesFp64) {
  const at::Tensor q = map_of(2, 15, 26);
  const at::Tensor k = map_of(2, 30, 26);
  const at::Tensor v = map_of(2, 30, 26);
  EXPECT_LT(relative_error(vae::attend(q, k, v), attention_in_fp64(q, k, v)), 3e-6);
}

TEST_F(VaeAttentionGpu, IsAsExactWhereConvolutionsRound) {
  const at::Tensor q = map_of(2, 15, 26) * 3;
  const at::Tensor k = map_of(2, 36, 26);
  const at::Tensor v = map_of(2, 36, 26);
  // As products of fp32 in the convolutions' test: the tensor cores cut what they add.
  EXPECT_LT(relative_error(vae::attend(q, k, v, /*tf32=*/true), attention_in_fp64(q, k, v)), 3e-5);
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    const at::Tensor a = q.to(type);
    const at::Tensor b = k.to(type);
    const at::Tensor c = v.to(type);
    EXPECT_LT(relative_error(vae::attend(a, b, c, /*tf32=*/true), attention_in_fp64(a, b, c)),
              type == at::kHalf ? 1e-3 : 8e-3);  // two roundings, of shares and result
  }
}

TEST_F(VaeAttentionGpu, BitsDoNotDependOnOtherQueries) {
  for (const at::ScalarType type : {at::kFloat, at::kHalf}) {
    const at::Tensor map = map_of(1, 36, 26).to(type);
    const at::Tensor whole = vae::attend(map, map, map, /*tf32=*/true);
    for (const std::int64_t count : {1, 11, 18}) {
      EXPECT_TRUE(
          at::equal(vae::attend(map.narrow(1, 7, count), map, map, /*tf32=*/true), whole.narrow(1, 7, count)))
          << count;
    }
  }
}

TEST_F(VaeAttentionGpu, HoldsAGigabyteOfScoresAtMost) {
  namespace allocator = c10::cuda::CUDACachingAllocator;
  constexpr auto all = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const at::Tensor map = map_of(1, 136, 240);  // 1920 x 1088: the scores of all rows would take 4 GB
  const at::Tensor few = vae::attend(map.narrow(1, 60, 10), map, map, /*tf32=*/true);
  allocator::resetPeakStats(0);
  const std::int64_t before_bytes = allocator::getDeviceStats(0).allocated_bytes[all].current;
  const at::Tensor out = vae::attend(map, map, map, /*tf32=*/true);
  const std::int64_t peak_bytes = allocator::getDeviceStats(0).allocated_bytes[all].peak - before_bytes;
  EXPECT_LT(peak_bytes, std::int64_t{2400} << 20);  // and their rests, and copies of the maps
  EXPECT_TRUE(at::equal(out.narrow(1, 60, 10), few));
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

/// Passes rows of a larger image as the neighbours'.
class HaloOf final : public vae::RowExchange {
 public:
  HaloOf(const at::Tensor& image, std::int64_t first, std::int64_t count)
      : RowExchange(vae::RowSplit(count, 1, 0)), image_(image), first_(first), end_(first + count) {}
  vae::Halo exchange_halo(const at::Tensor& /*rows*/, std::int64_t above, std::int64_t below) override {
    vae::Halo halo;
    if (first_ > 0) halo.above = image_.narrow(1, first_ - above, above).contiguous();
    if (end_ < image_.size(1)) halo.below = image_.narrow(1, end_, below).contiguous();
    return halo;
  }
  at::Tensor gather_rows(const at::Tensor& rows) override { return rows; }

 private:
  at::Tensor image_;
  std::int64_t first_, end_;
};

class VaeUpsampleGpu : public GpuTest {
 protected:
  static constexpr std::int64_t in = 192;
  static constexpr std::int64_t out = 96;

  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    x_ = at::randn({3, 13, 21, in}, at::kCUDA);
    weight_ = at::randn({out, in, 3, 3}, at::kCUDA) / std::sqrt(9.0 * in);
    bias_ = at::randn({out}, at::kCUDA);
  }
  vae::Upsample layer(std::optional<at::ScalarType> rounded, bool tf32) const {
    const auto read = [this](const std::string& name, at::IntArrayRef /*shape*/) {
      return name.ends_with("weight") ? weight_ : bias_;
    };
    return {vae::WeightScope(read, {.rounded = rounded, .tf32 = tf32}), in, out, /*temporal=*/false};
  }
  /// The result for the values as they are.
  at::Tensor in_fp64(const at::Tensor& x) const {
    const at::Tensor doubled =
        x.to(at::kDouble).repeat_interleave(2, 1).repeat_interleave(2, 2).permute({0, 3, 1, 2});
    return at::conv2d(doubled, weight_.to(at::kDouble), bias_.to(at::kDouble), 1, 1).permute({0, 2, 3, 1});
  }
  static at::Tensor run(const vae::Upsample& layer, const at::Tensor& x, vae::RowExchange& rows) {
    vae::Upsample::State state;
    return layer(x, state, rows);
  }

  at::Tensor x_, weight_, bias_;
};

TEST_F(VaeUpsampleGpu, IsTheConvolutionOfDoubledPixels) {
  vae::SinglePart rows(x_.size(1));
  const at::Tensor exact = in_fp64(x_);
  EXPECT_LT(relative_error(run(layer({}, /*tf32=*/false), x_, rows), exact), 2e-6);
  EXPECT_LT(relative_error(run(layer({}, /*tf32=*/true), x_, rows), exact), 4e-4);  // of TF32's rounding
  EXPECT_LT(relative_error(run(layer(at::kHalf, /*tf32=*/true), x_.to(at::kHalf), rows), exact), 6e-4);
  EXPECT_LT(relative_error(run(layer(at::kBFloat16, /*tf32=*/true), x_.to(at::kBFloat16), rows), exact),
            5e-3);
}

TEST_F(VaeUpsampleGpu, PartsHaveTheBitsOfTheWhole) {
  for (const bool rounds : {false, true}) {
    const at::Tensor x = rounds ? x_.to(at::kHalf) : x_;
    const vae::Upsample up = layer(rounds ? std::optional(at::kHalf) : std::nullopt, /*tf32=*/true);
    vae::SinglePart all(x.size(1));
    const at::Tensor whole = run(up, x, all);
    for (const auto& [first, count] : {std::pair{0, 4}, std::pair{4, 5}, std::pair{9, 4}}) {
      HaloOf part(x, first, count);
      EXPECT_TRUE(at::equal(run(up, x.narrow(1, first, count), part), whole.narrow(1, 2 * first, 2 * count)))
          << first;
    }
  }
}

}  // namespace
}  // namespace wan::kernels
