#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "kernels/cuda/launch.h"

// Helpers of the row kernels. One block handles one row and keeps it in registers between its loads and its
// stores.
namespace wan::kernels::cuda {

constexpr int warp_size = 32;
constexpr int max_warps = 32;

/// `Count` neighbours of a row: one or two 16-byte accesses, or one 8-byte access.
template <typename T, int Count>
struct alignas(sizeof(T) * Count < 16 ? sizeof(T) * Count : 16) Elements {
  T value[Count];

  __device__ static Elements load(const T* address) { return *reinterpret_cast<const Elements*>(address); }

  /// Loads data that is read once. The caches drop it first, so the parameters that all rows share stay.
  __device__ static Elements load_once(const T* address) {
    Elements result;
    if constexpr (sizeof(Elements) == 8) {
      *reinterpret_cast<uint2*>(&result) = __ldcs(reinterpret_cast<const uint2*>(address));
    } else {
#pragma unroll
      for (int i = 0; i < static_cast<int>(sizeof(Elements) / 16); ++i) {
        reinterpret_cast<uint4*>(&result)[i] = __ldcs(reinterpret_cast<const uint4*>(address) + i);
      }
    }
    return result;
  }

  __device__ void store(T* address) const { *reinterpret_cast<Elements*>(address) = *this; }
};

__device__ inline float widen(float value) { return value; }
__device__ inline float widen(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ inline float widen(__half value) { return __half2float(value); }

template <typename T>
__device__ T narrow(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(value);
  } else {
    return __float2bfloat16_rn(value);
  }
}

/// `value` as it is after being stored as a T.
template <typename T>
__device__ float rounded(float value) {
  return widen(narrow<T>(value));
}

/// The sum of `value` over the block, in every thread. The order of the sum depends only on the block's size.
/// `scratch`: [max_warps] in shared memory; each sum of a kernel needs its own.
__device__ inline float block_sum(float value, float* scratch) {
#pragma unroll
  for (int distance = warp_size / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xffffffffU, value, distance);
  }
  const int warps = static_cast<int>(blockDim.x) / warp_size;
  if (threadIdx.x % warp_size == 0) scratch[threadIdx.x / warp_size] = value;
  __syncthreads();
  float total = 0;
  for (int warp = 0; warp < warps; ++warp) total += scratch[warp];
  return total;
}

/// The block size that a kernel with `Units` units per thread is compiled for.
template <int Units>
constexpr int max_threads = Units == 8 ? 1024 : 256;

/// Calls launch(std::integral_constant<int, units per thread>, threads) for rows of `units` units. Five per
/// thread suit the full-size row: 5120 elements are 256 threads x 5 x 4 or 128 x 5 x 8, with no idle thread.
template <typename Launch>
cudaError_t with_units(int units, Launch&& launch) {
  const auto threads = [&](int per_thread) {
    const int needed = (units + per_thread - 1) / per_thread;
    return (needed + warp_size - 1) / warp_size * warp_size;
  };
  if (units <= max_threads<1>) {
    launch(std::integral_constant<int, 1>{}, threads(1));
  } else if (units <= 5 * max_threads<5>) {
    launch(std::integral_constant<int, 5>{}, threads(5));
  } else if (units <= 8 * max_threads<8>) {
    launch(std::integral_constant<int, 8>{}, threads(8));
  } else {
    return cudaErrorInvalidValue;
  }
  return cudaGetLastError();
}

template <typename T>
struct Type {
  using type = T;
};

/// Calls launch(Type<T>) for the C++ type of `element`.
template <typename Launch>
cudaError_t with_type(Element element, Launch&& launch) {
  switch (element) {
    case Element::bf16:
      return launch(Type<__nv_bfloat16>{});
    case Element::fp16:
      return launch(Type<__half>{});
    case Element::fp32:
      break;
  }
  return launch(Type<float>{});
}

/// Calls launch(Type<float>) for fp32, and launch(Type<Half>) for any other element.
template <typename Half, typename Launch>
cudaError_t with_float_or(Element element, Launch&& launch) {
  return element == Element::fp32 ? launch(Type<float>{}) : launch(Type<Half>{});
}

}  // namespace wan::kernels::cuda
