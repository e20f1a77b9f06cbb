#include <ATen/ATen.h>

#include <cmath>

#include "gpu/gpu_test.h"
#include "kernels/residual.h"
#include "wan/error.h"

namespace wan::kernels {
namespace {

constexpr double eps = 1e-6;
constexpr double fp32_error = 1e-6;
constexpr double bf16_error = 4e-3;  // of one rounding: 2^-8 at most
constexpr double fp16_error = 5e-4;  // 2^-11 at most

struct RowShape {
  std::int64_t tokens, dim;
};
class NormalizationGpu : public GpuTest, public testing::WithParamInterface<RowShape> {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    const auto [tokens, dim] = GetParam();
    x_ = random_rows({tokens, dim});
    y_ = random_rows({tokens, dim});
    weight_ = at::randn({dim});
    bias_ = at::randn({dim});
    gate_ = at::randn({dim});
  }

  /// In fp64 on the CPU.
  static at::Tensor layer_norm_fp64(const at::Tensor& x) {
    const at::Tensor wide = x.to(at::kDouble);
    const at::Tensor centred = wide - wide.mean(1, /*keepdim=*/true);
    return centred / at::sqrt(centred.square().mean(1, /*keepdim=*/true) + eps);
  }
  static double allowed(at::ScalarType type) { return type == at::kFloat ? fp32_error : bf16_error; }

  at::Tensor x_, y_;                 ///< fp32 [tokens, dim] on the CPU
  at::Tensor weight_, bias_, gate_;  ///< fp32 [dim] on the CPU
};

TEST_P(NormalizationGpu, LayerNormModulate) {
  const at::Tensor expected = layer_norm_fp64(x_) * (1 + weight_.to(at::kDouble)) + bias_;
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor out = layer_norm_modulate(x_.cuda(), weight_.cuda(), bias_.cuda(), eps, type);
    EXPECT_EQ(out.scalar_type(), type);
    EXPECT_LT(relative_error(out, expected), allowed(type));
    for (const bool round_norm : {false, true}) {
      const at::Tensor gpu =
          layer_norm_modulate(x_.cuda(), weight_.cuda(), bias_.cuda(), eps, at::kBFloat16, round_norm);
      expect_equal_but_for_roundings(
          gpu, layer_norm_modulate(x_, weight_, bias_, eps, at::kBFloat16, round_norm), 2e-3,
          round_norm ? "layer_norm_modulate, rounded norm" : "layer_norm_modulate");
    }
  }
}

TEST_P(NormalizationGpu, LayerNormAffine) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor weight = weight_.to(type);
    const at::Tensor bias = bias_.to(type);
    const at::Tensor expected = layer_norm_fp64(x_) * weight.to(at::kDouble) + bias.to(at::kDouble);
    const at::Tensor wide = layer_norm_affine(x_.cuda(), weight.cuda(), bias.cuda(), eps, at::kFloat);
    EXPECT_LT(relative_error(wide, expected), fp32_error);
    expect_equal_but_for_roundings(
        layer_norm_affine(x_.cuda(), weight.cuda(), bias.cuda(), eps, at::kBFloat16),
        layer_norm_affine(x_, weight, bias, eps, at::kBFloat16), 2e-3, "layer_norm_affine");
  }
}

TEST_P(NormalizationGpu, AddGatedTouchesItsRowsOnly) {
  const auto [tokens, dim] = GetParam();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const bool gated : {true, false}) {
      const at::Tensor y = y_.to(type);
      const at::Tensor gate = gated ? gate_ : at::Tensor();
      const at::Tensor expected = x_.to(at::kDouble) + y.to(at::kDouble) * (gated ? gate_ : at::ones({dim}));
      const at::Tensor memory = at::full({tokens + 2, dim}, NAN, at::TensorOptions(at::kCUDA));
      at::Tensor x = memory.narrow(0, 1, tokens);
      x.copy_(x_);
      add_gated(x, y.cuda(), gated ? gate.cuda() : gate);
      EXPECT_LT(relative_error(x, expected), fp32_error);
      EXPECT_TRUE(memory[0].isnan().all().item<bool>() && memory[tokens + 1].isnan().all().item<bool>());
    }
  }
}

TEST_P(NormalizationGpu, FusedResidualAndNormAreTheTwoKernels) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor y = y_.to(type).cuda();
    const at::Tensor gate = gate_.cuda();
    at::Tensor expected_x = x_.cuda();
    add_gated(expected_x, y, gate);
    at::Tensor x = x_.cuda();
    const at::Tensor modulated =
        add_gated_layer_norm_modulate(x, {.y = y, .gate = gate}, weight_.cuda(), bias_.cuda(), eps, type);
    EXPECT_TRUE(at::equal(x, expected_x));
    EXPECT_TRUE(
        at::equal(modulated, layer_norm_modulate(expected_x, weight_.cuda(), bias_.cuda(), eps, type)));

    const at::Tensor no_gate;
    const at::Tensor weight = weight_.to(type).cuda();
    const at::Tensor bias = bias_.to(type).cuda();
    expected_x = x_.cuda();
    add_gated(expected_x, y, no_gate);
    x = x_.cuda();
    const at::Tensor affine =
        add_gated_layer_norm_affine(x, {.y = y, .gate = no_gate}, weight, bias, eps, type);
    EXPECT_TRUE(at::equal(x, expected_x));
    EXPECT_TRUE(at::equal(affine, layer_norm_affine(expected_x, weight, bias, eps, type)));
  }
}

TEST_P(NormalizationGpu, RmsNormOfStridedRows) {
  const auto [tokens, dim] = GetParam();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor weight = weight_.to(type);
    const at::Tensor both = at::cat({y_, x_, y_}, 1).to(type);  // [tokens, 3 * dim], the middle third is x
    const at::Tensor x = both.narrow(1, dim, dim);
    const at::Tensor out = rms_norm(both.cuda().narrow(1, dim, dim), weight.cuda(), eps);
    EXPECT_EQ(out.scalar_type(), type);
    const at::Tensor wide = x.to(at::kDouble);
    const at::Tensor expected =
        wide / at::sqrt(wide.square().mean(1, /*keepdim=*/true) + eps) * weight.to(at::kDouble);
    EXPECT_LT(relative_error(out, expected), type == at::kFloat ? fp32_error : 2 * bf16_error);
    if (type == at::kBFloat16)
      expect_equal_but_for_roundings(out, rms_norm(x, weight, eps), 2e-3, "rms_norm");
  }
}

TEST_P(NormalizationGpu, InFp16) {
  const at::Tensor y = y_.to(at::kHalf);
  const at::Tensor weight = weight_.to(at::kHalf);
  const at::Tensor bias = bias_.to(at::kHalf);
  const at::Tensor expected_x = x_.to(at::kDouble) + y.to(at::kDouble) * gate_;
  at::Tensor x = x_.cuda();
  const at::Tensor modulated = add_gated_layer_norm_modulate(x, {.y = y.cuda(), .gate = gate_.cuda()},
                                                             weight_.cuda(), bias_.cuda(), eps, at::kHalf);
  EXPECT_LT(relative_error(x, expected_x), fp32_error);
  EXPECT_LT(relative_error(modulated, layer_norm_fp64(expected_x) * (1 + weight_.to(at::kDouble)) + bias_),
            fp16_error);
  const at::Tensor affine = layer_norm_affine(x_.cuda(), weight.cuda(), bias.cuda(), eps, at::kHalf);
  EXPECT_LT(relative_error(affine, layer_norm_fp64(x_) * weight.to(at::kDouble) + bias.to(at::kDouble)),
            fp16_error);
  const at::Tensor wide = y.to(at::kDouble);
  const at::Tensor normed = wide / at::sqrt(wide.square().mean(1, /*keepdim=*/true) + eps);
  EXPECT_LT(relative_error(rms_norm(y.cuda(), weight.cuda(), eps), normed * weight.to(at::kDouble)),
            2 * fp16_error);
}

TEST_P(NormalizationGpu, MarksRowsThatAreNoLongerFinite) {
  const auto [tokens, dim] = GetParam();
  const at::Tensor no_gate;
  for (const at::ScalarType type : {at::kHalf, at::kFloat}) {
    for (const double value : {1.0, HUGE_VAL, -HUGE_VAL, std::nan("")}) {
      at::Tensor y = y_.to(type).cuda();
      y[tokens - 1][dim - 1] = value;
      const at::Tensor marks = at::zeros({4}, at::TensorOptions(at::kCUDA).dtype(at::kInt));
      const auto marking = [&](int mark) {
        return GatedResidual{.y = y, .gate = no_gate, .overflow = marks.narrow(0, mark, 1)};
      };
      at::Tensor x = x_.cuda();
      add_gated_layer_norm_modulate(x, marking(1), weight_.cuda(), bias_.cuda(), eps, type);
      x = x_.cuda();
      add_gated_layer_norm_affine(x, marking(2), weight_.to(type).cuda(), bias_.to(type).cuda(), eps, type);
      const int marked = std::isfinite(value) ? 0 : 1;
      EXPECT_TRUE(at::equal(marks.cpu(), at::tensor({0, marked, marked, 0}, at::kInt))) << value;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, NormalizationGpu,
                         testing::Values(RowShape{1, 8}, RowShape{33, 96}, RowShape{7, 1024},
                                         RowShape{129, 1536}, RowShape{1001, 5120}, RowShape{3, 5128},
                                         RowShape{2, 8192}, RowShape{2, 32768}, RowShape{5, 12},
                                         RowShape{3, 36}, RowShape{1, 1}, RowShape{2, 32776}),
                         [](const auto& shape) {
                           return std::to_string(shape.param.tokens) + "x" + std::to_string(shape.param.dim);
                         });

class NormalizationGpuErrors : public GpuTest {};

TEST_F(NormalizationGpuErrors, RowsThatTheKernelsDoNotTake) {
  const at::Tensor weight = at::randn({16}, at::kCUDA);
  const at::Tensor shifted =
      at::randn({4 * 16 + 1}, at::kCUDA).narrow(0, 1, 64).view({4, 16});  // not aligned
  EXPECT_LT(relative_error(rms_norm(shifted, weight, eps), rms_norm(shifted.clone(), weight, eps)),
            fp32_error);
  at::Tensor half = at::randn({4, 16}, at::kCUDA).to(at::kBFloat16);
  EXPECT_THROW(add_gated(half, half, {}), Error) << "the stream is fp32";
}

TEST_F(NormalizationGpuErrors, TwoTypesOf16BitsInOneCall) {
  const at::Tensor x = at::randn({4, 16}, at::kCUDA);
  const at::Tensor weight = at::ones({16}, at::kCUDA).to(at::kHalf);
  EXPECT_THROW(layer_norm_affine(x, weight, weight, eps, at::kBFloat16), Error);
}

TEST_F(NormalizationGpuErrors, NoRowsAreNoWork) {
  const at::Tensor x = at::empty({0, 96}, at::kCUDA);
  const at::Tensor weight = at::ones({96}, at::kCUDA);
  EXPECT_EQ(layer_norm_modulate(x, weight, weight, eps, at::kBFloat16).size(0), 0);
  EXPECT_EQ(rms_norm(x, weight, eps).size(0), 0);
}

}  // namespace
}  // namespace wan::kernels
