#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <numeric>
#include <ostream>
#include <vector>

#include "gpu/gpu_test.h"
#include "kernels/qkv.h"

namespace wan::kernels {
namespace {

constexpr double eps = 1e-6;

struct PackCase {
  std::int64_t tokens, parts;
  std::vector<std::int64_t> chunk_heads;  ///< of a part that has the most
  std::int64_t head_dim;
  std::int64_t short_parts = 0;  ///< the last parts, which have one head less
  std::size_t short_chunk = 0;
  std::int64_t heads() const {
    return parts * std::accumulate(chunk_heads.begin(), chunk_heads.end(), std::int64_t{0}) - short_parts;
  }
  std::int64_t dim() const { return heads() * head_dim; }
};
void PrintTo(const PackCase& c, std::ostream* out) {
  *out << c.tokens << " tokens, " << c.parts << " parts in chunks of";
  for (const std::int64_t heads : c.chunk_heads) *out << " " << heads;
  *out << " heads of " << c.head_dim;
}
class NormRotatePackGpu : public GpuTest, public testing::WithParamInterface<PackCase> {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    qkv_ = random_rows({shape_.tokens, 3 * shape_.dim()});
    norm_q_ = at::randn({shape_.dim()});
    norm_k_ = at::randn({shape_.dim()});
    table_ = make_rotary_table({.frames = 3, .rows = 20, .columns = 30}, shape_.head_dim, 5, shape_.tokens);
  }

  RotaryTable gpu_table() const { return {.cos = table_.cos.cuda(), .sin = table_.sin.cuda()}; }

  /// One per chunk, [parts, tokens, 3, heads of the chunk, head_dim]; a value that no head has.
  std::vector<at::Tensor> poisoned(at::TensorOptions options) const {
    std::vector<at::Tensor> buffers;
    for (const std::int64_t heads : shape_.chunk_heads) {
      buffers.push_back(at::full({shape_.parts, shape_.tokens, 3, heads, shape_.head_dim}, 99, options));
    }
    return buffers;
  }

  /// The result of the CPU path in `type`, [parts, tokens, 3, heads_per_part, head_dim].
  at::Tensor on_cpu(at::ScalarType type) const {
    const std::vector<at::Tensor> buffers = poisoned(type);
    const at::Tensor norm_q = norm_q_.to(type);
    const at::Tensor norm_k = norm_k_.to(type);
    norm_rotate_pack(qkv_.to(type), {.q = norm_q, .k = norm_k, .eps = eps}, table_, buffers,
                     shape_.short_chunk);
    return at::cat(buffers, 3);
  }

  /// gpu: [parts, tokens, 3, heads_per_part, head_dim]
  void expect_close(const at::Tensor& gpu, at::ScalarType type) const {
    const at::Tensor cpu = on_cpu(type);
    if (type == at::kFloat) {
      EXPECT_LT(relative_error(gpu, cpu), 1e-6);
    } else if (type == at::kHalf) {
      EXPECT_LT(relative_error(gpu, on_cpu(at::kFloat)), 1e-3);
    } else {
      expect_equal_but_for_roundings(gpu, cpu, 4e-3, "norm_rotate_pack");
      EXPECT_LT(relative_error(gpu, on_cpu(at::kFloat)), 6e-3);
    }
    EXPECT_TRUE(at::equal(gpu.select(2, 2).cpu(), cpu.select(2, 2))) << "v must be copied bit for bit";
  }

  PackCase shape_ = GetParam();
  at::Tensor qkv_;              ///< fp32 [tokens, 3 * dim] on the CPU, as what follows
  at::Tensor norm_q_, norm_k_;  ///< fp32 [dim]
  RotaryTable table_;
};

TEST_P(NormRotatePackGpu, MatchesTheCpuPath) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const at::Tensor wide_rows =
        at::full({shape_.tokens, 3 * shape_.dim() + 8}, NAN, at::TensorOptions(at::kCUDA).dtype(type));
    const at::Tensor qkv = wide_rows.narrow(1, 0, 3 * shape_.dim());
    qkv.copy_(qkv_);
    const at::Tensor norm_q = norm_q_.to(type).cuda();
    const at::Tensor norm_k = norm_k_.to(type).cuda();
    const QkNorm norm{.q = norm_q, .k = norm_k, .eps = eps};
    const std::vector<at::Tensor> buffers = poisoned(qkv.options());
    norm_rotate_pack(qkv, norm, gpu_table(), buffers, shape_.short_chunk);
    const at::Tensor all = at::cat(buffers, 3);  // [parts, tokens, 3, heads_per_part, head_dim]
    expect_close(all, type);
    EXPECT_TRUE(at::equal(qkv.cpu(), qkv_.to(type))) << "the product is read only";
    if (shape_.short_parts > 0) {
      std::int64_t empty_place = -1;
      for (std::size_t chunk = 0; chunk <= shape_.short_chunk; ++chunk)
        empty_place += shape_.chunk_heads[chunk];
      const at::Tensor empty = all.narrow(0, shape_.parts - shape_.short_parts, shape_.short_parts)
                                   .select(3, empty_place);  // [short parts, tokens, 3, head_dim]
      EXPECT_TRUE((empty == 99).all().item<bool>()) << "an empty place stays as it was";
      continue;  // in one chunk the empty place is another one
    }
    const at::Tensor in_one_chunk = at::full_like(all, NAN);
    norm_rotate_pack(qkv, norm, gpu_table(), std::array{in_one_chunk});
    EXPECT_TRUE(at::equal(all, in_one_chunk)) << "where a head goes must not change its bits";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, NormRotatePackGpu,
    testing::Values(PackCase{1, 1, {1}, 8}, PackCase{37, 2, {2}, 24}, PackCase{37, 1, {1, 1, 1}, 32},
                    PackCase{64, 2, {1, 1}, 24}, PackCase{64, 3, {1, 4, 2}, 24}, PackCase{1001, 1, {40}, 128},
                    PackCase{515, 4, {10}, 128}, PackCase{333, 2, {4, 4, 4, 4, 4}, 128},
                    PackCase{333, 2, {3, 17}, 128}, PackCase{333, 2, {1, 18, 1}, 128},
                    PackCase{201, 4, {1, 8, 1}, 128}, PackCase{129, 8, {5}, 128}, PackCase{5, 1, {100}, 128},
                    PackCase{37, 2, {2}, 12}, PackCase{37, 1, {1, 2}, 12}, PackCase{9, 1, {3}, 20},
                    PackCase{129, 3, {1, 12, 1}, 128, 2, 1}, PackCase{65, 7, {6}, 128, 2},
                    PackCase{65, 6, {2, 5}, 128, 2, 1}, PackCase{37, 3, {2}, 12, 2}));

using NormRotatePackInPlaceGpu = NormRotatePackGpu;

TEST_P(NormRotatePackInPlaceGpu, LeavesTheValuesAlone) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const at::Tensor qkv = qkv_.to(type).cuda();
    const at::Tensor norm_q = norm_q_.to(type).cuda();
    const at::Tensor norm_k = norm_k_.to(type).cuda();
    const at::Tensor buffer = qkv.view({1, shape_.tokens, 3, shape_.heads(), shape_.head_dim});
    norm_rotate_pack(qkv, {.q = norm_q, .k = norm_k, .eps = eps}, gpu_table(), std::array{buffer});
    expect_close(buffer, type);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, NormRotatePackInPlaceGpu,
                         testing::Values(PackCase{37, 1, {4}, 24}, PackCase{1001, 1, {40}, 128},
                                         PackCase{37, 1, {3}, 12}));

}  // namespace
}  // namespace wan::kernels
