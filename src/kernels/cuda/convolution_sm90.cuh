#pragma once

#include <type_traits>

#include "kernels/cuda/convolution_plan.h"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/product.cuh"
#include "kernels/cuda/row.cuh"

// One block of threads computes tiles of 16 rows x 16 columns of pixels x N output channels. The pixels
// that a tile reads, with their halo, are brought to shared memory once for each frame of the kernel and each
// block of input channels; the taps of rows and columns are only different start addresses in that box. Each
// value is summed in one order: kernel frames, blocks of input channels, kernel rows, kernel columns,
// channels.
namespace wan::kernels::cuda {

constexpr int parts = tile_rows / 8;  ///< of 8 rows x 8 columns of pixels, for each warp group
constexpr int steps = box_width / 32;
static_assert(tile_columns == 16, "two warp groups, each with 8 columns");

struct Tile {
  int channel, column, row, frame;

  /// Channels run fastest, then columns and frames, so that tiles in flight share what they read.
  __device__ Tile(const ConvolutionPlan& plan, int index, int n) {
    channel = index % plan.channel_tiles * n;
    index /= plan.channel_tiles;
    column = index % plan.column_tiles * tile_columns;
    index /= plan.column_tiles;
    frame = index % plan.frames;
    row = index / plan.frames * tile_rows;
  }
};

/// A place in a ring of buffers and the parity of its current round.
struct RingPlace {
  int index = 0;
  std::uint32_t parity = 0;

  __device__ void advance(int size) {
    if (++index == size) {
      index = 0;
      parity ^= 1;
    }
  }
};

/// Shared memory: boxes of pixels, blocks of weights, barriers.
struct Rings {
  std::uint32_t boxes, weights, barriers;

  __device__ SharedBarrier box_full(int i) const { return {barriers + 8 * i}; }
  __device__ SharedBarrier box_empty(int i) const { return {barriers + 8 * (max_ring + i)}; }
  __device__ SharedBarrier weight_full(int i) const { return {barriers + 8 * (2 * max_ring + i)}; }
  __device__ SharedBarrier weight_empty(int i) const { return {barriers + 8 * (3 * max_ring + i)}; }
};

/// Brings the boxes of pixels: one thread of a block. Shortly before the end of a tile it also has the addend
/// brought to the L2 cache.
template <int Elements, int N>
__device__ void bring_boxes(const ConvolutionPlan& plan, const Rings& rings) {
  const int count = plan.kernel.time * plan.channel_blocks * plan.boxes;
  const int prefetch_at = max(count - 3, 0);
  RingPlace place;
  for (int index = blockIdx.x; index < plan.tiles; index += gridDim.x) {
    const Tile tile(plan, index, N);
    for (int i = 0; i < count; ++i) {
      const int tap = i % plan.boxes;
      const int block = i / plan.boxes % plan.channel_blocks;
      const int kt = i / plan.boxes / plan.channel_blocks;
      const int frame = tile.frame * plan.stride.time + kt - plan.before.time;
      const int row = tile.row * plan.stride.rows + tap / plan.kernel.columns - plan.before.rows;
      const int column = tile.column * plan.stride.columns + tap % plan.kernel.columns - plan.before.columns;
      const SharedBarrier full = rings.box_full(place.index);
      rings.box_empty(place.index).wait(place.parity ^ 1);
      full.arrive_and_expect(plan.box_bytes);
      // Frames before the first and after the last are beyond a piece's border, and so zeros.
      int piece = 0;
      while (piece + 1 < plan.pieces && frame >= plan.first_frames[piece + 1]) ++piece;
      load_box(plan.x[piece], rings.boxes + place.index * plan.box_pitch, full, block * Elements, column, row,
               frame - plan.first_frames[piece]);
      place.advance(plan.box_ring);
      if (i == prefetch_at && plan.prefetch) {
        prefetch_box(plan.addend_map, tile.channel, tile.column, tile.row, tile.frame);
      }
    }
  }
}

/// Brings the blocks of weights: one thread of a block.
template <int Elements, int N>
__device__ void bring_weights(const ConvolutionPlan& plan, const Rings& rings) {
  constexpr int bytes = N * box_width;
  const int taps = plan.kernel.rows * plan.kernel.columns;
  RingPlace place;
  for (int index = blockIdx.x; index < plan.tiles; index += gridDim.x) {
    const Tile tile(plan, index, N);
    for (int kt = 0; kt < plan.kernel.time; ++kt) {
      for (int block = 0; block < plan.channel_blocks; ++block) {
        for (int tap = 0; tap < taps; ++tap) {
          const SharedBarrier full = rings.weight_full(place.index);
          rings.weight_empty(place.index).wait(place.parity ^ 1);
          full.arrive_and_expect(bytes);
          load_box(plan.weight, rings.weights + place.index * bytes, full, block * Elements, kt * taps + tap,
                   tile.channel);
          place.advance(plan.weight_ring);
        }
      }
    }
  }
}

/// The outputs of one pixel, as one thread stores them.
template <typename Out>
struct PixelPlace {
  const Out* addend;  ///< null without one
  Out* out;
  bool inside;

  __device__ PixelPlace(const ConvolutionPlan& plan, int frame, int row, int column) {
    inside = column < plan.columns && row < plan.rows;
    out = static_cast<Out*>(plan.out) + frame * plan.frame_stride + row * plan.row_stride +
          column * plan.column_stride;
    addend = plan.addend == nullptr
                 ? nullptr
                 : static_cast<const Out*>(plan.addend) + frame * plan.addend_frame_stride +
                       row * plan.addend_row_stride + column * plan.addend_column_stride;
  }
};

/// Four neighbouring sums of a pixel. sum[0 .. 3] are a thread's channels 2q, 2q + 1, 8 + 2q and 9 + 2q of
/// 16, q being its place among four threads; pairs exchange so that each has four in a row.
__device__ inline void gather_four(const float* sum, float (&four)[4]) {
  const bool odd = threadIdx.x % 2 == 1;
  const float got0 = __shfl_xor_sync(0xffffffffU, odd ? sum[0] : sum[2], 1);
  const float got1 = __shfl_xor_sync(0xffffffffU, odd ? sum[1] : sum[3], 1);
  four[0] = odd ? got0 : sum[0];
  four[1] = odd ? got1 : sum[1];
  four[2] = odd ? sum[2] : got0;
  four[3] = odd ? sum[3] : got1;
}

/// The first of these channels.
__device__ inline int first_of_four() {
  const int lane = threadIdx.x % 32;
  return lane % 2 * 8 + lane % 4 / 2 * 4;
}

/// Four neighbours that nobody writes before this thread does.
template <typename Out>
__device__ Elements<Out, 4> load_early(const Out* address) {
  Elements<Out, 4> result;
  if constexpr (sizeof(Out) == 4) {
    *reinterpret_cast<float4*>(&result) = __ldg(reinterpret_cast<const float4*>(address));
  } else {
    *reinterpret_cast<uint2*>(&result) = __ldg(reinterpret_cast<const uint2*>(address));
  }
  return result;
}

/// Sum + bias + addend, rounded once, with wide accesses, for the two pixels of a thread. `sum`: of all
/// channels of a tile, for each.
template <typename Out, int N>
__device__ void store_wide(const ConvolutionPlan& plan, const PixelPlace<Out> (&pixels)[2],
                           const float (&sum)[2][N / 4], int channel) {
  constexpr int groups = N / 16;
  constexpr int batch = N <= 96 ? 2 * groups : (N <= 128 ? 8 : 4);  // addends in flight, as registers allow
  static_assert(2 * groups % batch == 0);
#pragma unroll
  for (int first = 0; first < 2 * groups; first += batch) {
    Elements<Out, 4> added[batch];
#pragma unroll
    for (int i = 0; i < batch; ++i) {
      const PixelPlace<Out>& pixel = pixels[(first + i) / groups];
      const int c = channel + 16 * ((first + i) % groups);
      added[i] = Elements<Out, 4>{};
      if (pixel.addend != nullptr && pixel.inside && c < plan.channels)
        added[i] = load_early(pixel.addend + c);
    }
#pragma unroll
    for (int i = 0; i < batch; ++i) {
      const PixelPlace<Out>& pixel = pixels[(first + i) / groups];
      const int group = (first + i) % groups;
      const int c = channel + 16 * group;
      float four[4];
      gather_four(sum[(first + i) / groups] + 4 * group, four);
      if (!pixel.inside || c >= plan.channels) continue;
      const auto bias = load_early(plan.bias + c);
      Elements<Out, 4> result;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const float value = four[k] + bias.value[k];
        result.value[k] = narrow<Out>(pixel.addend == nullptr ? value : value + widen(added[i].value[k]));
      }
      result.store(pixel.out + c);
    }
  }
}

/// As store_wide(), for one pixel and numbers of channels that are no multiple of four; tiles have 16
/// channels then.
template <typename Out>
__device__ void store_narrow(const ConvolutionPlan& plan, const PixelPlace<Out>& pixel, const float* sum,
                             int channel) {
  float four[4];
  gather_four(sum, four);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int c = channel + k;
    if (!pixel.inside || c >= plan.channels) continue;
    const float value = four[k] + plan.bias[c];
    pixel.out[c] = narrow<Out>(pixel.addend == nullptr ? value : value + widen(pixel.addend[c]));
  }
}

/// Stores 64 pixels, 8 rows x 8 columns, from `row` and `column` on. A thread has two of them.
template <typename Out, int N>
__device__ void store_pixels(const ConvolutionPlan& plan, const float (&sum)[N / 2], const Tile& tile,
                             int row, int column) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32 % 4;
  const int channel = tile.channel + first_of_four();
  const PixelPlace<Out> pixels[2] = {{plan, tile.frame, row + 2 * warp, column + lane / 4},
                                     {plan, tile.frame, row + 2 * warp + 1, column + lane / 4}};
  float own[2][N / 4];
#pragma unroll
  for (int i = 0; i < N / 2; ++i) own[i % 4 / 2][i / 4 * 2 + i % 2] = sum[i];
  if (N == narrow_tile && plan.channels % 4 != 0) {
    store_narrow<Out>(plan, pixels[0], own[0], channel);
    store_narrow<Out>(plan, pixels[1], own[1], channel);
  } else {
    store_wide<Out, N>(plan, pixels, own, channel);
  }
}

/// Adds the products of one tap and `Steps` times 32 bytes of input channels.
template <typename T, int N, int Steps>
__device__ void add_products(float (&sums)[parts][N / 2], std::uint64_t x_layout, std::uint64_t weight_layout,
                             std::uint32_t pixels, std::uint32_t weights, std::uint32_t part_bytes,
                             int keep) {
  begin_products();
#pragma unroll
  for (int step = 0; step < Steps; ++step) {
#pragma unroll
    for (int part = 0; part < parts; ++part) {
      Product<N>::add(sums[part], operand(x_layout, pixels + part * part_bytes + step * 32),
                      operand(weight_layout, weights + step * 32), step > 0 ? 1 : keep, T{});
    }
  }
  commit_products();
}

/// Sums this warp group's share of a tile: its columns 8 * group ... The places advance.
template <typename T, int N>
__device__ void sum_tile(const ConvolutionPlan& plan, const Rings& rings, int group, RingPlace& box_place,
                         RingPlace& weight_place, float (&sums)[parts][N / 2]) {
  const std::uint64_t x_layout = operand_layout(Swizzle::bytes128, 16, plan.box_columns * box_width);
  const std::uint64_t weight_layout = operand_layout(Swizzle::bytes128, 16, 8 * box_width);
  const bool leader = threadIdx.x % 32 == 0;
  const int windows = plan.boxes == 1 ? plan.kernel.rows * plan.kernel.columns : 1;  // read from one box
  const int boxes = plan.kernel.time * plan.channel_blocks * plan.boxes;
  const std::uint32_t part_bytes = 8 * plan.box_columns * box_width;
  int keep = 0;
  int last_weight = -1;
  int last_box = -1;
  for (int box = 0; box < boxes; ++box) {
    const bool half = plan.half_block && (box / plan.boxes + 1) % plan.channel_blocks == 0;
    rings.box_full(box_place.index).wait(box_place.parity);
    const std::uint32_t pixels = rings.boxes + box_place.index * plan.box_pitch + 8 * group * box_width;
    int window_row = 0;
    int window_column = 0;
    for (int window = 0; window < windows; ++window) {
      rings.weight_full(weight_place.index).wait(weight_place.parity);
      const std::uint32_t from = pixels + (window_row * plan.box_columns + window_column) * box_width;
      const std::uint32_t weights = rings.weights + weight_place.index * N * box_width;
      if (half) {
        add_products<T, N, steps / 2>(sums, x_layout, weight_layout, from, weights, part_bytes, keep);
      } else {
        add_products<T, N, steps>(sums, x_layout, weight_layout, from, weights, part_bytes, keep);
      }
      keep = 1;
      await_products<1>();  // the products before these have ended
      if (leader && last_weight >= 0) rings.weight_empty(last_weight).arrive();
      if (leader && last_box >= 0) rings.box_empty(last_box).arrive();
      last_weight = weight_place.index;
      last_box = -1;
      weight_place.advance(plan.weight_ring);
      if (++window_column == plan.kernel.columns) {
        window_column = 0;
        ++window_row;
      }
    }
    last_box = box_place.index;
    box_place.advance(plan.box_ring);
  }
  await_products<0>();
  if (leader) rings.weight_empty(last_weight).arrive();
  if (leader) rings.box_empty(last_box).arrive();
}

/// Sums and stores this warp group's share of the tiles.
template <typename T, int N>
__device__ void compute_tiles(const ConvolutionPlan& plan, const Rings& rings, int group) {
  RingPlace box_place;
  RingPlace weight_place;
  for (int index = blockIdx.x; index < plan.tiles; index += gridDim.x) {
    const Tile tile(plan, index, N);
    float sums[parts][N / 2];
#pragma unroll
    for (int part = 0; part < parts; ++part) hold(sums[part]);
    sum_tile<T, N>(plan, rings, group, box_place, weight_place, sums);
#pragma unroll
    for (int part = 0; part < parts; ++part) hold(sums[part]);
#pragma unroll
    for (int part = 0; part < parts; ++part) {
      if (std::is_same_v<T, float> || plan.wide) {
        store_pixels<float, N>(plan, sums[part], tile, tile.row + 8 * part, tile.column + 8 * group);
      } else {
        store_pixels<T, N>(plan, sums[part], tile, tile.row + 8 * part, tile.column + 8 * group);
      }
    }
  }
}

/// Warps 0 and 1 bring data; warp groups 1 and 2 compute.
template <typename T, int N>
__global__ void __launch_bounds__(convolution_threads, 1)
    convolve(const __grid_constant__ ConvolutionPlan plan) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  constexpr int elements = box_width / sizeof(T);
  extern __shared__ std::uint8_t shared[];
  Rings rings;
  rings.boxes = (shared_address(shared) + 1023) / 1024 * 1024;
  rings.weights = rings.boxes + plan.box_ring * plan.box_pitch;
  rings.barriers = rings.weights + plan.weight_ring * N * box_width;
  if (threadIdx.x == 0) {
    for (int piece = 0; piece < plan.pieces; ++piece) prefetch_map(plan.x[piece]);
    prefetch_map(plan.weight);
    for (int i = 0; i < max_ring; ++i) {
      rings.box_full(i).init(1);
      rings.weight_full(i).init(1);
      rings.box_empty(i).init(consumer_warps);
      rings.weight_empty(i).init(consumer_warps);
    }
    fence_barriers();
  }
  __syncthreads();
  if (threadIdx.x < 128) {
    give_registers<40>();
    if (threadIdx.x == 0) bring_boxes<elements, N>(plan, rings);
    if (threadIdx.x == 32) bring_weights<elements, N>(plan, rings);
  } else {
    take_registers<232>();
    compute_tiles<T, N>(plan, rings, threadIdx.x / 128 - 1);
  }
#endif
}

/// The kernel for elements of type T and tiles of so many output channels, or null.
template <typename T>
const void* convolution_of(int channels) {
  const auto address = [](auto* kernel) { return reinterpret_cast<const void*>(kernel); };
  switch (channels) {
    case 16:
      return address(convolve<T, 16>);
    case 32:
      return address(convolve<T, 32>);
    case 96:
      return address(convolve<T, 96>);
    case 128:
      return address(convolve<T, 128>);
    case 160:
      return address(convolve<T, 160>);
    case 192:
      return address(convolve<T, 192>);
    default:
      return nullptr;
  }
}

}  // namespace wan::kernels::cuda
