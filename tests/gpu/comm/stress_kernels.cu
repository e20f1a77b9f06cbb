#include "gpu/comm/stress_kernels.h"

namespace wan::comm::test {
namespace {

constexpr unsigned threads = 256;
constexpr unsigned blocks_for_memory = 264;

__device__ std::uint32_t pattern_word(std::uint32_t seed, std::size_t index) {
  std::uint32_t x = (static_cast<std::uint32_t>(index) + 1u) * 0x9E3779B9u ^ (seed + 1u) * 0x85EBCA6Bu;
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  x = (x ^ (x >> 15)) * 0x846CA68Bu;
  return x ^ (x >> 16);
}

__global__ void fill(std::uint32_t* words, std::size_t count, std::uint32_t seed) {
  const std::size_t stride = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride)
    words[i] = pattern_word(seed, i);
}

__global__ void compare(const std::uint32_t* words, std::size_t count, std::uint32_t seed,
                        unsigned long long* mismatches) {
  const std::size_t stride = std::size_t{gridDim.x} * blockDim.x;
  unsigned long long wrong = 0;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride)
    wrong += words[i] != pattern_word(seed, i) ? 1 : 0;
  if (wrong != 0) atomicAdd(mismatches, wrong);
}

__global__ void spin(long long cycles) {
  const long long start = clock64();
  while (clock64() - start < cycles) {
  }
}

}  // namespace

cudaError_t fill_pattern(std::uint32_t* words, std::size_t count, std::uint32_t seed, cudaStream_t stream) {
  fill<<<blocks_for_memory, threads, 0, stream>>>(words, count, seed);
  return cudaGetLastError();
}

cudaError_t count_mismatches(const std::uint32_t* words, std::size_t count, std::uint32_t seed,
                             unsigned long long* mismatches, cudaStream_t stream) {
  compare<<<blocks_for_memory, threads, 0, stream>>>(words, count, seed, mismatches);
  return cudaGetLastError();
}

cudaError_t keep_busy(unsigned blocks, long long cycles, cudaStream_t stream) {
  spin<<<blocks, threads, 0, stream>>>(cycles);
  return cudaGetLastError();
}

}  // namespace wan::comm::test
