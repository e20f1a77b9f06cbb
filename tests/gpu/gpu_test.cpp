#include "gpu/gpu_test.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/cuda/CUDAFunctions.h>

#include <cstdio>
#include <limits>

namespace wan::kernels {

void GpuTest::SetUp() {
  if (c10::cuda::device_count() == 0) GTEST_SKIP() << "no GPU on this machine";
  at::manual_seed(0);
  // In deterministic mode ATen fills allocated memory with NaN. Operations without a deterministic form only
  // warn.
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  at::globalContext().setDeterministicFillUninitializedMemory(true);
  at::globalContext().setAllowTF32CuBLAS(false);
}

void GpuTest::TearDown() { at::globalContext().setDeterministicAlgorithms(false, /*warn_only=*/true); }

double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  const at::Tensor wide = expected.cpu().to(at::kDouble);
  const at::Tensor difference = actual.cpu().to(at::kDouble) - wide;
  if (!at::isfinite(difference).all().item<bool>()) return std::numeric_limits<double>::infinity();
  return (difference.norm() / wide.norm()).item<double>();
}

void expect_equal_but_for_roundings(const at::Tensor& actual, const at::Tensor& expected, double share,
                                    const char* what) {
  ASSERT_EQ(actual.scalar_type(), at::kBFloat16) << what;
  ASSERT_EQ(expected.scalar_type(), at::kBFloat16) << what;
  const at::Tensor wide = expected.cpu().to(at::kDouble);
  const at::Tensor difference = (actual.cpu().to(at::kDouble) - wide).abs();
  ASSERT_TRUE(at::isfinite(difference).all().item<bool>()) << what << ": not every element is finite";
  const auto differing = (difference > 0).sum().item<std::int64_t>();
  std::printf("  %-44s %lld of %lld elements rounded otherwise\n", what, static_cast<long long>(differing),
              static_cast<long long>(wide.numel()));
  EXPECT_LE(static_cast<double>(differing), share * static_cast<double>(wide.numel()) + 2) << what;
  const auto typical = wide.square().mean().sqrt().item<double>();
  const at::Tensor steps = difference / ((wide.abs() + typical) / 128);  // bf16 keeps 8 significant bits
  EXPECT_LE(steps.max().item<double>(), 2.0) << what;
}

at::Tensor random_rows(at::IntArrayRef shape) {
  at::Tensor x = at::randn(shape) + 0.25;
  x.slice(-1, 3, std::nullopt, 17).mul_(20);
  return x;
}

}  // namespace wan::kernels
