#include <ATen/cuda/CUDAContext.h>
#include <cublasLt.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <span>

#include "core/check.h"
#include "kernels/cuda/product_kernel.h"

namespace wan::kernels::cuda {
namespace {

void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) fail("{} failed: {}", call, cublasLtGetStatusName(status));
}

template <typename Value>
void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, const Value& value) {
  check(cublasLtMatmulDescSetAttribute(operation, attribute, static_cast<const void*>(&value), sizeof(value)),
        "cublasLtMatmulDescSetAttribute");
}

cublasLtEpilogue_t epilogue_of(ProductEnd end) {
  if (end == ProductEnd::gelu) return CUBLASLT_EPILOGUE_GELU_BIAS;
  return end == ProductEnd::bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

/// A product as cuBLASLt takes it. Its matrices are stored by columns, so it computes out^T = W x^T. The
/// descriptions own nothing.
struct Problem {
  cublasLtMatmulDescOpaque_t operation{};
  cublasLtMatrixLayoutOpaque_t weight{}, x{}, out{};

  Problem(const ProductShape& shape, const ProductCall& call) {
    const cudaDataType_t type = shape.type == c10::ScalarType::Half ? CUDA_R_16F : CUDA_R_16BF;
    check(cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescInit");
    set(&operation, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    set(&operation, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(shape.end));
    if (shape.end != ProductEnd::plain) set(&operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, call.bias);
    const auto rows = static_cast<std::uint64_t>(call.rows);
    const auto outs = static_cast<std::uint64_t>(shape.out);
    const auto ins = static_cast<std::uint64_t>(shape.in);
    check(cublasLtMatrixLayoutInit(&weight, type, ins, outs, shape.in), "cublasLtMatrixLayoutInit");
    check(cublasLtMatrixLayoutInit(&x, type, ins, rows, call.x_stride), "cublasLtMatrixLayoutInit");
    check(cublasLtMatrixLayoutInit(&out, type, outs, rows, shape.out), "cublasLtMatrixLayoutInit");
  }
};

using Configuration = std::array<std::uint32_t, 9>;

template <typename Value>
std::uint32_t setting(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute) {
  Value value = 0;
  std::size_t written = 0;
  check(cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof(value), &written),
        "cublasLtMatmulAlgoConfigGetAttribute");
  return value;
}

/// All that tells two algorithms apart.
Configuration configuration_of(const cublasLtMatmulAlgo_t& algorithm) {
  const auto wide = [&](cublasLtMatmulAlgoConfigAttributes_t attribute) {
    return setting<std::uint32_t>(algorithm, attribute);
  };
  const auto narrow = [&](cublasLtMatmulAlgoConfigAttributes_t attribute) {
    return setting<std::uint16_t>(algorithm, attribute);
  };
  return {wide(CUBLASLT_ALGO_CONFIG_ID),
          wide(CUBLASLT_ALGO_CONFIG_TILE_ID),
          wide(CUBLASLT_ALGO_CONFIG_STAGES_ID),
          wide(CUBLASLT_ALGO_CONFIG_SPLITK_NUM),
          wide(CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME),
          wide(CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING),
          wide(CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION),
          narrow(CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID),
          narrow(CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID)};
}

bool divides_sums(const Configuration& configuration) {
  constexpr std::size_t split_k = 3, reduction = 4;
  return configuration[split_k] > 1 || configuration[reduction] != CUBLASLT_REDUCTION_SCHEME_NONE;
}

class CublasLtKernel : public ProductKernel {
 public:
  CublasLtKernel(const ProductShape& shape, const cublasLtMatmulAlgo_t& algorithm)
      : shape_(shape),
        algorithm_(algorithm),
        name_(fmt::format("cublaslt:{}", fmt::join(configuration_of(algorithm), "."))) {}

  const std::string& name() const override { return name_; }

  void launch(const ProductCall& call) const override {
    const float one = 1, zero = 0;
    Problem problem(shape_, call);
    const cublasStatus_t status =
        cublasLtMatmul(at::cuda::getCurrentCUDABlasLtHandle(), &problem.operation, &one, call.weight,
                       &problem.weight, call.x, &problem.x, &zero, call.out, &problem.out, call.out,
                       &problem.out, &algorithm_, at::cuda::getCUDABlasLtWorkspace(),
                       at::cuda::getCUDABlasLtWorkspaceSize(), at::cuda::getCurrentCUDAStream());
    if (status != CUBLAS_STATUS_SUCCESS) {
      fail("{} for {} rows of {} failed: {}", name_, call.rows, describe(shape_),
           cublasLtGetStatusName(status));
    }
  }

  /// Whether it takes so many rows.
  bool takes(const ProductCall& call) const {
    Problem problem(shape_, call);
    cublasLtMatmulHeuristicResult_t result{};
    return cublasLtMatmulAlgoCheck(at::cuda::getCurrentCUDABlasLtHandle(), &problem.operation,
                                   &problem.weight, &problem.x, &problem.out, &problem.out, &algorithm_,
                                   &result) == CUBLAS_STATUS_SUCCESS &&
           result.workspaceSize <= at::cuda::getCUDABlasLtWorkspaceSize();
  }

 private:
  ProductShape shape_;
  cublasLtMatmulAlgo_t algorithm_;
  std::string name_;
};

/// The library looks at the alignment of addresses, and at nothing in the memory.
ProductCall call_without_memory(const ProductShape& shape, std::int64_t rows) {
  alignas(256) static constexpr std::byte nowhere{};
  return {.bias = &nowhere, .rows = rows, .x_stride = shape.in};
}

/// The library's algorithms for so many rows, its first choice first. Empty if it has none.
std::vector<cublasLtMatmulAlgo_t> algorithms_for(const ProductShape& shape, std::int64_t rows) {
  constexpr int most = 16;
  Problem problem(shape, call_without_memory(shape, rows));
  cublasLtMatmulPreferenceOpaque_t preference{};
  check(cublasLtMatmulPreferenceInit(&preference), "cublasLtMatmulPreferenceInit");
  const std::size_t workspace = at::cuda::getCUDABlasLtWorkspaceSize();
  check(cublasLtMatmulPreferenceSetAttribute(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                             &workspace, sizeof(workspace)),
        "cublasLtMatmulPreferenceSetAttribute");
  std::array<cublasLtMatmulHeuristicResult_t, most> results{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      at::cuda::getCurrentCUDABlasLtHandle(), &problem.operation, &problem.weight, &problem.x, &problem.out,
      &problem.out, &preference, most, results.data(), &count);
  std::vector<cublasLtMatmulAlgo_t> algorithms;
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return algorithms;
  check(status, "cublasLtMatmulAlgoGetHeuristic");
  for (const auto& result : std::span(results).first(static_cast<std::size_t>(count))) {
    if (result.state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(result.algo);
  }
  return algorithms;
}

}  // namespace

ProductKernels cublas_lt_kernels(const ProductShape& shape) {
  // The tokens of usual videos, and parts of them. The first number decides the first choice.
  constexpr std::array<std::int64_t, 8> asked{32760, 75600, 16380, 8190, 65536, 8192, 4095, 2048};
  constexpr std::array<std::int64_t, 5> needed{1, 77, 1001, 32760, 252960};
  ProductKernels kernels;
  for (const std::int64_t rows : asked) {
    for (const cublasLtMatmulAlgo_t& algorithm : algorithms_for(shape, rows)) {
      if (divides_sums(configuration_of(algorithm))) continue;
      auto kernel = std::make_unique<CublasLtKernel>(shape, algorithm);
      const auto takes = [&](std::int64_t count) { return kernel->takes(call_without_memory(shape, count)); };
      if (!std::ranges::all_of(needed, takes)) continue;
      const auto is_same = [&](const auto& known) { return known->name() == kernel->name(); };
      if (std::ranges::none_of(kernels, is_same)) kernels.push_back(std::move(kernel));
    }
  }
  return kernels;
}

ProductMachine product_machine() {
  const cudaDeviceProp* properties = at::cuda::getCurrentDeviceProperties();
  return {.gpu = properties->name,
          .multiprocessors = properties->multiProcessorCount,
          .cublas_lt = static_cast<std::int64_t>(cublasLtGetVersion())};
}

}  // namespace wan::kernels::cuda
