#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "cutlass/cuda_host_adapter.hpp"
#include "kernels/cuda/attention_call.h"
#include "kernels/cuda/attention_sm90_kernel.cuh"

namespace wan::kernels::cuda::sm90 {

/// The map by which the tensor memory accelerator reads boxes of `box_rows` tokens by 64 columns of one head.
/// Rows after the last token read as zero.
inline CUresult map_rows(CUtensorMap& map, const HeadRows& rows, int tokens, int heads, int box_rows) {
  const cuuint64_t sizes[3] = {head_dim, static_cast<cuuint64_t>(heads), static_cast<cuuint64_t>(tokens)};
  const cuuint64_t strides_bytes[2] = {static_cast<cuuint64_t>(rows.head_stride) * sizeof(Element),
                                       static_cast<cuuint64_t>(rows.token_stride) * sizeof(Element)};
  const cuuint32_t box[3] = {half_dim, 1, static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[3] = {1, 1, 1};
  return CUTLASS_CUDA_DRIVER_WRAPPER_CALL(cuTensorMapEncodeTiled)(
      &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, rows.data, sizes, strides_bytes, box, steps,
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

/// Everything that the kernel wants to know of a call.
template <typename S>
cudaError_t describe_call(Parameters& parameters, const AttentionCall& call) {
  constexpr int key_rows = S::keys / S::blocks;
  constexpr int queries = S::blocks * groups * group_rows;
  if (map_rows(parameters.q, call.q, call.queries, call.heads, group_rows) != CUDA_SUCCESS ||
      map_rows(parameters.k, call.k, call.keys, call.heads, key_rows) != CUDA_SUCCESS ||
      map_rows(parameters.v, call.v, call.keys, call.heads, key_rows) != CUDA_SUCCESS) {
    return cudaErrorInvalidValue;
  }
  parameters.out = static_cast<Element*>(call.out.data);
  parameters.out_token_stride = call.out.token_stride;
  parameters.out_head_stride = call.out.head_stride;
  parameters.queries = call.queries;
  parameters.keys = call.keys;
  parameters.key_tiles = (call.keys + S::keys - 1) / S::keys;
  parameters.tiles = (call.queries + queries - 1) / queries;
  parameters.works = parameters.tiles * call.heads;
  parameters.scale_log2 = call.scale * std::numbers::log2e_v<float>;
  parameters.last_bonus = std::log(static_cast<float>(call.last_repeats)) / call.scale;
  return cudaSuccess;
}

/// Launches one form of the kernel: as many clusters as fit on the device, each of which computes every n-th
/// tile.
template <typename S>
cudaError_t launch(const AttentionCall& call, cudaStream_t stream) {
  Parameters parameters{};
  int device = 0;
  int processors = 0;
  cudaError_t error = describe_call<S>(parameters, call);
  if (error == cudaSuccess) error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  }
  if (error == cudaSuccess) {
    error = cudaFuncSetAttribute(attention_kernel<S>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 sizeof(Memory<S>));
  }
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {S::blocks, 1, 1};
  cudaLaunchConfig_t configuration{};
  configuration.gridDim = std::min(processors / S::blocks, parameters.works) * S::blocks;
  configuration.blockDim = block_threads;
  configuration.dynamicSmemBytes = sizeof(Memory<S>);
  configuration.stream = stream;
  configuration.attrs = &cluster;
  configuration.numAttrs = 1;
  return cudaLaunchKernelEx(&configuration, attention_kernel<S>, parameters);
}

}  // namespace wan::kernels::cuda::sm90
