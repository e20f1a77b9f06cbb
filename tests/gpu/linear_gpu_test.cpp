#include <ATen/ATen.h>

#include <cmath>
#include <cstdio>
#include <ostream>

#include "gpu/gpu_test.h"
#include "kernels/linear.h"

namespace wan::kernels {
namespace {

struct LinearCase {
  std::int64_t rows, in, out;
};
void PrintTo(const LinearCase& c, std::ostream* out) { *out << c.rows << " x " << c.in << " to " << c.out; }
class LinearGpu : public GpuTest, public testing::WithParamInterface<LinearCase> {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    const auto [rows, in, out] = GetParam();
    x_ = at::randn({rows, in}, at::kCUDA).to(at::kBFloat16);
    weight_ = (at::randn({out, in}, at::kCUDA) / std::sqrt(static_cast<double>(in))).to(at::kBFloat16);
    bias_ = at::randn({out}, at::kCUDA).to(at::kBFloat16);
    expected_ = at::linear(x_.to(at::kDouble), weight_.to(at::kDouble), bias_.to(at::kDouble));
  }

  at::Tensor x_, weight_, bias_;  ///< bf16 [rows, in], [out, in], [out]
  at::Tensor expected_;           ///< fp64 [rows, out]
};

TEST_P(LinearGpu, IntoAGivenOutput) {
  const auto [rows, in, out_features] = GetParam();
  at::Tensor memory = at::full({rows + 1, out_features}, NAN, x_.options());
  at::Tensor out = memory.narrow(0, 0, rows);
  kernels::linear_out(out, x_, weight_, bias_);
  EXPECT_LT(relative_error(out, expected_), 2.5e-3);
  EXPECT_TRUE(memory[rows].isnan().all().item<bool>());
  EXPECT_LT(relative_error(kernels::linear(x_, weight_, bias_), expected_), 2.5e-3);
}

TEST_P(LinearGpu, GeluInTheProduct) {
  const at::Tensor expected = at::gelu(expected_, "tanh");
  const double fused = relative_error(kernels::linear_gelu(x_, weight_, bias_), expected);
  const double apart = relative_error(gelu_tanh(kernels::linear(x_, weight_, bias_)), expected);
  std::printf("  GELU in the product: error %.2e, after it %.2e\n", fused, apart);
  EXPECT_LT(fused, 4e-3);
  EXPECT_LT(fused, 1.1 * apart) << "one rounding less cannot be worse";
}

TEST_P(LinearGpu, InFp16) {
  const at::Tensor x = x_.to(at::kHalf);
  const at::Tensor weight = weight_.to(at::kHalf);  // bf16 of this size fits into fp16
  const at::Tensor bias = bias_.to(at::kHalf);
  EXPECT_LT(relative_error(kernels::linear(x, weight, bias), expected_), 5e-4);
  EXPECT_LT(relative_error(kernels::linear_gelu(x, weight, bias), at::gelu(expected_, "tanh")), 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Shapes, LinearGpu,
                         testing::Values(LinearCase{33, 96, 288}, LinearCase{1001, 5120, 13824},
                                         LinearCase{512, 4096, 5120}));

}  // namespace
}  // namespace wan::kernels
