#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "gpu/gpu_test.h"
#include "kernels/low_rank.h"

namespace wan::kernels {
namespace {

class LowRankGpu : public GpuTest {
 protected:
  struct Case {
    std::int64_t rows, columns;
    std::vector<std::int64_t> ranks;  ///< of each LoRA; 0: a difference only
  };

  /// One element, as lora::LoraMerge computes it.
  static float expected_at(const Case& c, const std::vector<LowRankShare>& shares, std::int64_t first,
                           std::int64_t place, float base) {
    const std::int64_t row = place / c.columns;
    const std::int64_t column = place % c.columns;
    double sum = 0;
    for (const LowRankShare& share : shares) {
      if (share.up.defined()) {
        const float* const up = share.up.const_data_ptr<float>() + row * share.up.size(1);
        const float* const down = share.down.const_data_ptr<float>() + column;
        float product = 0;
        for (std::int64_t k = 0; k < share.up.size(1); ++k)
          product = std::fma(up[k], down[k * c.columns], product);
        sum += share.factor * static_cast<double>(product);
      }
      if (share.difference.defined()) {
        const float difference = share.difference.const_data_ptr<float>()[place - first];
        sum += share.strength * static_cast<double>(difference);
      }
    }
    return static_cast<float>(static_cast<double>(base) + sum);
  }

  static void check(const Case& c, std::int64_t first, std::int64_t count, at::ScalarType base_type,
                    at::ScalarType type) {
    SCOPED_TRACE(testing::Message() << c.rows << " x " << c.columns << " from " << first << ", " << count);
    std::vector<LowRankShare> shares;  // on the CPU
    for (const std::int64_t rank : c.ranks) {
      LowRankShare share{.factor = 0.3 * static_cast<double>(shares.size() + 1), .strength = -1.0 / 3};
      if (rank > 0) {
        share.up = at::randn({c.rows, rank});
        share.down = at::randn({rank, c.columns});
      }
      if (rank % 2 == 0) share.difference = at::randn({count});
      shares.push_back(share);
    }
    const at::Tensor base = at::randn({count}).to(base_type);
    const at::Tensor wide = base.to(at::kFloat);
    at::Tensor expected = at::empty({count});
    for (std::int64_t i = 0; i < count; ++i) {
      expected.data_ptr<float>()[i] =
          expected_at(c, shares, first, first + i, wide.const_data_ptr<float>()[i]);
    }
    const std::int64_t first_row = first / c.columns;
    const std::int64_t rows = (first + count - 1) / c.columns + 1 - first_row;
    for (LowRankShare& share : shares) {
      if (share.up.defined()) {
        const bool has_own_rows_only = share.up.size(1) % 3 != 1;
        share.first_row = has_own_rows_only ? first_row : 0;
        share.up = has_own_rows_only ? share.up.narrow(0, first_row, rows).cuda() : share.up.cuda();
        share.down = share.down.cuda();
      }
      if (share.difference.defined()) share.difference = share.difference.cuda();
    }
    const at::Tensor on_gpu = base.cuda();
    const at::Tensor out = base_type == type ? on_gpu : at::empty({count}, on_gpu.options().dtype(type));
    add_low_rank(out, on_gpu, first, c.columns, shares);
    EXPECT_TRUE(at::equal(out.cpu(), expected.to(type)));
  }
};

TEST_F(LowRankGpu, HasTheBitsOfTheCpu) {
  const Case weight{.rows = 67, .columns = 300, .ranks = {16, 0, 5}};
  for (const at::ScalarType base : {at::kBFloat16, at::kFloat}) {
    for (const at::ScalarType type : {at::kBFloat16, at::kFloat}) {
      check(weight, 0, 67 * 300, base, type);
      check(weight, 123, 1, base, type);
      check(weight, 299, 2, base, type);
      check(weight, 31 * 300 + 7, 20 * 300 + 5, base, type);
    }
  }
}

TEST_F(LowRankGpu, TakesVectorsAndManyLoras) {
  check({.rows = 1, .columns = 1000, .ranks = {0, 0}}, 17, 800, at::kBFloat16, at::kBFloat16);
  check({.rows = 9, .columns = 40, .ranks = {1, 2, 3, 4, 64, 6, 7, 8}}, 0, 360, at::kFloat, at::kBFloat16);
}

TEST_F(LowRankGpu, RefusesWrongShapes) {
  const at::Tensor base = at::zeros({12}, at::kCUDA);
  const LowRankShare share{.up = at::zeros({3, 2}, at::kCUDA), .down = at::zeros({2, 5}, at::kCUDA)};
  EXPECT_ANY_THROW(add_low_rank(base, base, 0, 4, {&share, 1}));
  EXPECT_ANY_THROW(add_low_rank(base.to(at::kHalf), base, 0, 4, {}));
  LowRankShare later{.up = at::zeros({3, 2}, at::kCUDA), .down = at::zeros({2, 4}, at::kCUDA)};
  EXPECT_NO_THROW(add_low_rank(base, base, 0, 4, {&later, 1}));
  later.first_row = 1;  // row 0 is missing
  EXPECT_ANY_THROW(add_low_rank(base, base, 0, 4, {&later, 1}));
}

}  // namespace
}  // namespace wan::kernels
