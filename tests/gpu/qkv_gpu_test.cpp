#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <ostream>
#include <vector>

#include "gpu/gpu_test.h"
#include "kernels/qkv.h"

namespace wan::kernels {
namespace {

constexpr double eps = 1e-6;

struct PackCase {
  std::int64_t tokens, parts, chunks, heads, head_dim;
  std::int64_t dim() const { return heads * head_dim; }
};
void PrintTo(const PackCase& c, std::ostream* out) {
  *out << c.tokens << " tokens, " << c.heads << " heads of " << c.head_dim << " in " << c.parts << " parts, "
       << c.chunks << " chunks";
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

  /// All chunks as one [chunks, parts, tokens, 3, heads_per_chunk, head_dim]; NaN to start with.
  at::Tensor poisoned(at::TensorOptions options) const {
    return at::full({shape_.chunks, shape_.parts, shape_.tokens, 3,
                     shape_.heads / shape_.parts / shape_.chunks, shape_.head_dim},
                    NAN, options);
  }

  /// The result of the CPU path in `type`.
  at::Tensor on_cpu(at::ScalarType type) const {
    at::Tensor all = poisoned(type);
    const std::vector<at::Tensor> buffers = all.unbind(0);
    const at::Tensor norm_q = norm_q_.to(type);
    const at::Tensor norm_k = norm_k_.to(type);
    norm_rotate_pack(qkv_.to(type), {.q = norm_q, .k = norm_k, .eps = eps}, table_, buffers);
    return all;
  }

  void expect_close(const at::Tensor& gpu, at::ScalarType type) const {
    const at::Tensor cpu = on_cpu(type);
    if (type == at::kFloat) {
      EXPECT_LT(relative_error(gpu, cpu), 1e-6);
    } else {
      expect_equal_but_for_roundings(gpu, cpu, 4e-3, "norm_rotate_pack");
      EXPECT_LT(relative_error(gpu, on_cpu(at::kFloat)), 6e-3);
    }
    EXPECT_TRUE(at::equal(gpu.select(3, 2).cpu(), cpu.select(3, 2))) << "v must be copied bit for bit";
  }

  PackCase shape_ = GetParam();
  at::Tensor qkv_;              ///< fp32 [tokens, 3 * dim] on the CPU, as what follows
  at::Tensor norm_q_, norm_k_;  ///< fp32 [dim]
  RotaryTable table_;
};

TEST_P(NormRotatePackGpu, MatchesTheCpuPath) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor wide_rows =
        at::full({shape_.tokens, 3 * shape_.dim() + 8}, NAN, at::TensorOptions(at::kCUDA).dtype(type));
    const at::Tensor qkv = wide_rows.narrow(1, 0, 3 * shape_.dim());
    qkv.copy_(qkv_);
    const at::Tensor norm_q = norm_q_.to(type).cuda();
    const at::Tensor norm_k = norm_k_.to(type).cuda();
    const at::Tensor all = poisoned(qkv.options());
    const std::vector<at::Tensor> buffers = all.unbind(0);
    norm_rotate_pack(qkv, {.q = norm_q, .k = norm_k, .eps = eps}, gpu_table(), buffers);
    expect_close(all, type);
    EXPECT_TRUE(at::equal(qkv.cpu(), qkv_.to(type))) << "the product is read only";
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, NormRotatePackGpu,
                         testing::Values(PackCase{1, 1, 1, 1, 8}, PackCase{37, 2, 1, 4, 24},
                                         PackCase{37, 1, 3, 3, 32}, PackCase{64, 2, 2, 4, 24},
                                         PackCase{1001, 1, 1, 40, 128}, PackCase{515, 4, 1, 40, 128},
                                         PackCase{333, 2, 5, 40, 128}, PackCase{129, 8, 1, 40, 128},
                                         PackCase{5, 1, 1, 100, 128}));

using NormRotatePackInPlaceGpu = NormRotatePackGpu;

TEST_P(NormRotatePackInPlaceGpu, LeavesTheValuesAlone) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor qkv = qkv_.to(type).cuda();
    const at::Tensor norm_q = norm_q_.to(type).cuda();
    const at::Tensor norm_k = norm_k_.to(type).cuda();
    const at::Tensor buffer = qkv.view({1, shape_.tokens, 3, shape_.heads, shape_.head_dim});
    norm_rotate_pack(qkv, {.q = norm_q, .k = norm_k, .eps = eps}, gpu_table(), std::array{buffer});
    expect_close(buffer.unsqueeze(0), type);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, NormRotatePackInPlaceGpu,
                         testing::Values(PackCase{37, 1, 1, 4, 24}, PackCase{1001, 1, 1, 40, 128}));

}  // namespace
}  // namespace wan::kernels
