#include <algorithm>

#include "comm/nccl/reduce.h"

namespace wan::comm {
namespace {

constexpr unsigned threads_per_block = 256;
constexpr std::size_t most_blocks = 1024;

__device__ float combine(float a, float b, ReduceOp op) {
  if (op == ReduceOp::sum) return a + b;
  if (isnan(a)) return a;
  return isnan(b) || a < b ? b : a;
}

__device__ std::int64_t combine(std::int64_t a, std::int64_t b, ReduceOp op) {
  if (op == ReduceOp::max) return a < b ? b : a;
  // Unsigned, because a signed sum must not overflow.
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}

template <typename Value>
__global__ void fold(const Value* gathered, Value* values, std::size_t count, int ranks, ReduceOp op) {
  const std::size_t stride = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    Value folded = gathered[i];
    for (int rank = 1; rank < ranks; ++rank)
      folded = combine(folded, gathered[static_cast<std::size_t>(rank) * count + i], op);
    values[i] = folded;
  }
}

template <typename Value>
cudaError_t launch(const Value* gathered, Value* values, std::size_t count, int ranks, ReduceOp op,
                   cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  const std::size_t blocks = std::min((count + threads_per_block - 1) / threads_per_block, most_blocks);
  fold<<<static_cast<unsigned>(blocks), threads_per_block, 0, stream>>>(gathered, values, count, ranks, op);
  return cudaGetLastError();
}

}  // namespace

cudaError_t fold_in_rank_order(const float* gathered, float* values, std::size_t count, int ranks,
                               ReduceOp op, cudaStream_t stream) {
  return launch(gathered, values, count, ranks, op, stream);
}

cudaError_t fold_in_rank_order(const std::int64_t* gathered, std::int64_t* values, std::size_t count,
                               int ranks, ReduceOp op, cudaStream_t stream) {
  return launch(gathered, values, count, ranks, op, stream);
}

}  // namespace wan::comm
