#include "kernels/cuda/row.cuh"

namespace wan::kernels::cuda {
namespace {

constexpr int unit =
    8;  // elements of a row that a thread takes at a time: 16 bytes of bf16, and whole rotary pairs

/// This thread's units of a row; those beyond its end are zero. Returns its share of the sum of squares.
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

/// One normed element: rounded after the norm and after the weight, as two operations on tensors of T would.
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

/// Which of a token's three rows a block works on.
enum class Third { q = 0, k = 1, v = 2 };

/// Where the unit at element `at` of a token's row of dim goes, and where it stands in its head.
template <typename T>
struct Destination {
  T* address;
  int in_head;

  __device__ Destination(const QkvRows& rows, std::int64_t token, Third third, int at) {
    const int heads_per_part = rows.heads / rows.parts;
    const int heads_per_chunk = heads_per_part / rows.chunks;
    const int head = at / rows.head_dim;
    const int part = head / heads_per_part;
    const int chunk = head % heads_per_part / heads_per_chunk;
    const std::int64_t row = (part * rows.tokens + token) * 3 + static_cast<int>(third);
    in_head = at % rows.head_dim;
    address = static_cast<T*>(rows.buffers[chunk]) +
              (row * heads_per_chunk + head % heads_per_chunk) * rows.head_dim + in_head;
  }
};

/// Norm, weight and rotary turn of one unit, in place. cos, sin: of the unit's pairs.
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

/// A block per token and third: `thirds` is 3, or 2 where v stays in place. A thread writes only where it or
/// nobody has read, so that a row may be its own destination.
template <int Units, typename T>
__global__ void __launch_bounds__(max_threads<Units>) norm_rotate_pack_kernel(QkvRows rows, unsigned thirds) {
  __shared__ float squares[max_warps];
  const int dim = rows.heads * rows.head_dim;
  const std::int64_t token = blockIdx.x / thirds;
  const Third third = static_cast<Third>(blockIdx.x % thirds);
  const T* row = static_cast<const T*>(rows.qkv) + token * rows.qkv_stride + static_cast<int>(third) * dim;
  Elements<T, unit> x[Units];
  const float square = load_row(row, dim, x);
  const T* weight = static_cast<const T*>(third == Third::q ? rows.norm_q : rows.norm_k);
  float scale = 1;
  if (third != Third::v) {  // the same for the whole block
    scale = __frsqrt_rn(block_sum(square, squares) / static_cast<float>(dim) + rows.eps);
  }
#pragma unroll
  for (int i = 0; i < Units; ++i) {
    const int at = static_cast<int>(threadIdx.x + i * blockDim.x) * unit;
    if (at >= dim) continue;
    const Destination<T> to(rows, token, third, at);
    if (third != Third::v) {
      const std::int64_t angle = (token * rows.head_dim + to.in_head) / 2;
      norm_and_turn(x[i], scale, weight + at, rows.cos + angle, rows.sin + angle);
    }
    x[i].store(to.address);
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
  return with_type(rows.type, [&](auto type) {
    return with_units(rows.heads * rows.head_dim / unit, [&](auto units, int threads) {
      norm_rotate_pack_kernel<units(), typename decltype(type)::type>
          <<<static_cast<unsigned>(rows.tokens) * thirds, threads, 0, stream>>>(rows, thirds);
    });
  });
}

}  // namespace wan::kernels::cuda
