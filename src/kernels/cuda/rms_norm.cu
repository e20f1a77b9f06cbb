#include "kernels/cuda/row.cuh"
#include "kernels/head_division.h"

namespace wan::kernels::cuda {
namespace {

constexpr int unit = 8;  // elements that a thread takes at a time: 16 bytes of bf16, and whole rotary pairs

/// Loads this thread's units of a row; units beyond its end are zero. Returns the thread's part of the sum of
/// squares.
template <typename T, int Units>
__device__ float load_row(const T* row, int dim, Elements<T, unit> (&x)[Units]) {
#pragma unroll
  for (int i = 0; i < Units; ++i) {
    const int at = static_cast<int>(threadIdx.x + i * blockDim.x) * unit;
    if (at < dim) {
      x[i] = Elements<T, unit>::load_once(row + at);
    } else {
#pragma unroll
      for (int j = 0; j < unit; ++j) x[i].value[j] = narrow<T>(0.0F);
    }
  }
  float square = 0;
#pragma unroll
  for (int i = 0; i < Units; ++i) {
#pragma unroll
    for (int j = 0; j < unit; ++j) square += widen(x[i].value[j]) * widen(x[i].value[j]);
  }
  return square;
}

/// One normed element. It is rounded after the norm and after the weight, like two operations on tensors of
/// T.
template <typename T>
__device__ float normed(T x, float scale, T weight) {
  return rounded<T>(rounded<T>(widen(x) * scale) * widen(weight));
}

template <int Units, typename T>
__global__ void __launch_bounds__(max_threads<Units>) rms_norm_kernel(RmsNormRows rows) {
  __shared__ float squares[max_warps];
  Elements<T, unit> x[Units];
  const float square = load_row(static_cast<const T*>(rows.x) + blockIdx.x * rows.x_stride, rows.dim, x);
  const float scale = __frsqrt_rn(block_sum(square, squares) / static_cast<float>(rows.dim) + rows.eps);
  T* out = static_cast<T*>(rows.out) + blockIdx.x * std::int64_t{rows.dim};
#pragma unroll
  for (int i = 0; i < Units; ++i) {
    const int at = static_cast<int>(threadIdx.x + i * blockDim.x) * unit;
    if (at >= rows.dim) continue;
    const auto weight = Elements<T, unit>::load(static_cast<const T*>(rows.weight) + at);
#pragma unroll
    for (int j = 0; j < unit; ++j) x[i].value[j] = narrow<T>(normed(x[i].value[j], scale, weight.value[j]));
    x[i].store(out + at);
  }
}

/// Which of a token's three rows a block processes.
enum class Third { q = 0, k = 1, v = 2 };

/// The destination of a head of a token's row.
template <typename T>
__device__ T* head_destination(const QkvRows& rows, std::int64_t token, Third third, int head) {
  const HeadPlace at = place_of_head(head, rows.heads_per_part, rows.full_parts, rows.empty_place);
  int chunk = 0;
  while (at.place >= rows.chunk_ends[chunk]) ++chunk;  // ends, because the last chunk_end is heads_per_part
  const int first = chunk > 0 ? rows.chunk_ends[chunk - 1] : 0;
  const int chunk_heads = rows.chunk_ends[chunk] - first;
  const std::int64_t row = (at.part * rows.tokens + token) * 3 + static_cast<int>(third);
  return static_cast<T*>(rows.buffers[chunk]) + (row * chunk_heads + at.place - first) * rows.head_dim;
}

/// Divides by a number that the whole launch shares, through a multiplication. It is exact while dividend
/// times divisor is below 2^32.
struct Divisor {
  explicit Divisor(unsigned by) : divisor(by), magic(by > 1 ? ~0U / by + 1 : 0) {}
  __device__ unsigned divide(unsigned dividend) const {
    return magic != 0 ? __umulhi(dividend, magic) : dividend;
  }

  unsigned divisor;
  unsigned magic;  ///< 2^32 / divisor, rounded up; 0 for a divisor of 1
};

/// Norm, weight and rotary turn of one unit, in place. cos and sin belong to the unit's pairs.
template <typename T>
__device__ void norm_and_turn(Elements<T, unit>& x, float scale, const T* weights, const float* cos,
                              const float* sin) {
  const auto weight = Elements<T, unit>::load(weights);
  const auto cosine = Elements<float, unit / 2>::load(cos);
  const auto sine = Elements<float, unit / 2>::load(sin);
#pragma unroll
  for (int pair = 0; pair < unit / 2; ++pair) {
    const float a = normed(x.value[2 * pair], scale, weight.value[2 * pair]);
    const float b = normed(x.value[2 * pair + 1], scale, weight.value[2 * pair + 1]);
    x.value[2 * pair] = narrow<T>(a * cosine.value[pair] - b * sine.value[pair]);
    x.value[2 * pair + 1] = narrow<T>(a * sine.value[pair] + b * cosine.value[pair]);
  }
}

/// One block for each token and third. `thirds` is 3, or 2 if v stays in place. A thread writes only where it
/// has read itself or nobody reads. So a row may be its own destination.
template <int Units, typename T>
__global__ void __launch_bounds__(max_threads<Units>)
    norm_rotate_pack_kernel(QkvRows rows, Divisor thirds, Divisor units_per_head) {
  extern __shared__ std::uint64_t heads[];  // [heads]: destination of each head
  __shared__ float squares[max_warps];
  const int dim = rows.heads * rows.head_dim;
  const unsigned token_of_block = thirds.divide(blockIdx.x);
  const std::int64_t token = token_of_block;
  const Third third = static_cast<Third>(blockIdx.x - token_of_block * thirds.divisor);
  const T* row = static_cast<const T*>(rows.qkv) + token * rows.qkv_stride + static_cast<int>(third) * dim;
  Elements<T, unit> x[Units];
  const float square = load_row(row, dim, x);
  for (int head = static_cast<int>(threadIdx.x); head < rows.heads; head += static_cast<int>(blockDim.x))
    heads[head] = reinterpret_cast<std::uint64_t>(head_destination<T>(rows, token, third, head));
  const T* weight = static_cast<const T*>(third == Third::q ? rows.norm_q : rows.norm_k);
  float scale = 1;
  if (third != Third::v) {  // the branch is the same for the whole block
    scale = __frsqrt_rn(block_sum(square, squares) / static_cast<float>(dim) + rows.eps);
  } else {
    __syncthreads();  // the table of heads is complete
  }
  const float* cos = rows.cos + token * rows.head_dim / 2;
  const float* sin = rows.sin + token * rows.head_dim / 2;
#pragma unroll
  for (int i = 0; i < Units; ++i) {
    const unsigned index = threadIdx.x + i * blockDim.x;
    const int at = static_cast<int>(index) * unit;
    if (at >= dim) continue;
    const unsigned head = units_per_head.divide(index);
    const int in_head = static_cast<int>(index - head * units_per_head.divisor) * unit;
    if (third != Third::v) norm_and_turn(x[i], scale, weight + at, cos + in_head / 2, sin + in_head / 2);
    x[i].store(reinterpret_cast<T*>(heads[head]) + in_head);
  }
}

}  // namespace

cudaError_t launch_rms_norm(const RmsNormRows& rows, cudaStream_t stream) {
  return with_type(rows.type, [&](auto type) {
    return with_units(rows.dim / unit, [&](auto units, int threads) {
      rms_norm_kernel<units(), typename decltype(type)::type>
          <<<static_cast<unsigned>(rows.tokens), threads, 0, stream>>>(rows);
    });
  });
}

cudaError_t launch_norm_rotate_pack(const QkvRows& rows, cudaStream_t stream) {
  const unsigned thirds = rows.copy_v ? 3 : 2;
  const std::size_t table_bytes = static_cast<std::size_t>(rows.heads) * sizeof(std::uint64_t);
  return with_type(rows.type, [&](auto type) {
    return with_units(rows.heads * rows.head_dim / unit, [&](auto units, int threads) {
      norm_rotate_pack_kernel<units(), typename decltype(type)::type>
          <<<static_cast<unsigned>(rows.tokens) * thirds, threads, table_bytes, stream>>>(
              rows, Divisor(thirds), Divisor(static_cast<unsigned>(rows.head_dim / unit)));
    });
  });
}

}  // namespace wan::kernels::cuda
