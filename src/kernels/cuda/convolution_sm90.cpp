#include "kernels/cuda/convolution_sm90.h"

#include <cudaTypedefs.h>

#include <algorithm>

#include "kernels/cuda/convolution_plan.h"

namespace wan::kernels::cuda {
namespace {

constexpr int shared_limit = 227 * 1024;
constexpr int shared_reserve = 2048;  // alignment and barriers

int size_of(Element type) { return type == Element::fp32 ? 4 : 2; }

/// The driver's function, which the runtime finds, so that nothing links the driver.
PFN_cuTensorMapEncodeTiled_v12000 map_encoder() {
  static const auto function = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
    const cudaError_t status =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result);
    if (status != cudaSuccess || result != cudaDriverEntryPointSuccess) found = nullptr;
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(found);
  }();
  return function;
}

struct MapShape {
  int rank;
  cuuint64_t sizes[5];
  cuuint64_t strides[4];  // bytes; without the first axis, which is dense
  cuuint32_t box[5];
  cuuint32_t steps[5];
  CUtensorMapSwizzle swizzle;
};

bool encode(CUtensorMap& map, const MapShape& shape, const void* data, Element type) {
  const CUtensorMapDataType types[] = {CU_TENSOR_MAP_DATA_TYPE_TFLOAT32, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                                       CU_TENSOR_MAP_DATA_TYPE_FLOAT16};
  const auto encoder = map_encoder();
  if (encoder == nullptr) return false;
  return encoder(&map, types[static_cast<int>(type)], shape.rank, const_cast<void*>(data), shape.sizes,
                 shape.strides, shape.box, shape.steps, CU_TENSOR_MAP_INTERLEAVE_NONE, shape.swizzle,
                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

cuuint64_t extent(std::int64_t value) { return static_cast<cuuint64_t>(value); }
cuuint32_t side(std::int64_t value) { return static_cast<cuuint32_t>(value); }

int divided(int a, int b) { return (a + b - 1) / b; }

/// Boxes of pixels with the halo of all taps, or with a stride boxes of one tap each.
bool map_pixels(ConvolutionPlan& plan, const ConvolutionCall& call) {
  const auto size = static_cast<std::int64_t>(size_of(call.type));
  const bool strided = call.stride.rows > 1 || call.stride.columns > 1;
  const int rows = tile_rows + (strided ? 0 : call.kernel.rows - 1);
  const int columns = tile_columns + (strided ? 0 : call.kernel.columns - 1);
  const auto bytes = [&](std::int64_t stride) { return static_cast<cuuint64_t>(stride * size); };
  plan.boxes = strided ? call.kernel.rows * call.kernel.columns : 1;
  plan.box_columns = columns;
  plan.box_bytes = rows * columns * box_width;
  plan.box_pitch = divided(plan.box_bytes, 1024) * 1024;
  const auto box_rows = static_cast<cuuint32_t>(rows * call.stride.rows);
  const auto box_columns = static_cast<cuuint32_t>(columns * call.stride.columns);
  const auto row_step = static_cast<cuuint32_t>(call.stride.rows);
  const auto column_step = static_cast<cuuint32_t>(call.stride.columns);
  plan.pieces = call.pieces;
  for (int piece = 0; piece < call.pieces; ++piece) {
    const Activation& x = call.x[piece];
    plan.first_frames[piece + 1] = plan.first_frames[piece] + x.frames;
    const MapShape shape{4,
                         {extent(x.channels), extent(x.columns), extent(x.rows), extent(x.frames)},
                         {bytes(x.column_stride), bytes(x.row_stride), bytes(x.frame_stride)},
                         {side(box_width / size), box_columns, box_rows, 1},
                         {1, column_step, row_step, 1},
                         CU_TENSOR_MAP_SWIZZLE_128B};
    if (!encode(plan.x[piece], shape, x.data, call.type)) return false;
  }
  return true;
}

bool map_weight(ConvolutionPlan& plan, const ConvolutionCall& call, int channels) {
  const auto size = static_cast<cuuint64_t>(size_of(call.type));
  const auto in = static_cast<cuuint64_t>(call.x[0].channels);
  const auto taps = extent(std::int64_t{call.kernel.time} * call.kernel.rows * call.kernel.columns);
  const MapShape shape{3,
                       {in, taps, static_cast<cuuint64_t>(call.out.channels)},
                       {in * size, in * taps * size},
                       {static_cast<cuuint32_t>(box_width / size), 1, static_cast<cuuint32_t>(channels)},
                       {1, 1, 1},
                       CU_TENSOR_MAP_SWIZZLE_128B};
  return encode(plan.weight, shape, call.weight, call.type);
}

void divide_work(ConvolutionPlan& plan, const ConvolutionCall& call, int channels) {
  const Activation& out = call.out;
  plan.bias = call.bias;
  plan.addend = call.addend.data;
  plan.out = const_cast<void*>(out.data);
  plan.wide = call.wide || call.type == Element::fp32;
  plan.frames = out.frames;
  plan.rows = out.rows;
  plan.columns = out.columns;
  plan.channels = out.channels;
  plan.frame_stride = out.frame_stride;
  plan.row_stride = out.row_stride;
  plan.column_stride = out.column_stride;
  plan.addend_frame_stride = call.addend.frame_stride;
  plan.addend_row_stride = call.addend.row_stride;
  plan.addend_column_stride = call.addend.column_stride;
  plan.channel_tiles = divided(out.channels, channels);
  plan.column_tiles = divided(out.columns, tile_columns);
  plan.row_tiles = divided(out.rows, tile_rows);
  plan.tiles = plan.channel_tiles * plan.column_tiles * plan.row_tiles * out.frames;
  plan.kernel = call.kernel;
  plan.stride = call.stride;
  plan.before = call.before;
  const int block = box_width / size_of(call.type);
  const int rest = call.x[0].channels % block;
  plan.channel_blocks = divided(call.x[0].channels, block);
  plan.half_block = rest > 0 && rest <= block / 2;
}

/// The addend's tiles, for a prefetch. Without one the result is the same.
void map_addend(ConvolutionPlan& plan, const ConvolutionCall& call, int channels) {
  const Activation& addend = call.addend;
  const Element type = call.wide ? Element::fp32 : call.type;
  const auto size = static_cast<std::int64_t>(size_of(type));
  const auto bytes = [&](std::int64_t stride) { return static_cast<cuuint64_t>(stride * size); };
  if (addend.data == nullptr || channels * size % 16 != 0) return;
  const MapShape shape{
      4,
      {extent(addend.channels), extent(addend.columns), extent(addend.rows), extent(addend.frames)},
      {bytes(addend.column_stride), bytes(addend.row_stride), bytes(addend.frame_stride)},
      {side(channels), tile_columns, tile_rows, 1},
      {1, 1, 1, 1},
      CU_TENSOR_MAP_SWIZZLE_NONE};
  plan.prefetch = encode(plan.addend_map, shape, addend.data, type);
}

/// Two boxes, or more where one is read for one tap only; the rest of the memory for weights.
bool divide_memory(ConvolutionPlan& plan, int channels) {
  const int weights = channels * box_width;
  const bool short_lived = plan.boxes > 1 || plan.kernel.rows * plan.kernel.columns == 1;
  const int available = shared_limit - shared_reserve;
  plan.box_ring = short_lived ? std::clamp(available / (plan.box_pitch + weights), 2, max_ring) : 2;
  plan.weight_ring = std::min((available - plan.box_ring * plan.box_pitch) / weights, max_ring);
  return plan.weight_ring >= 2;
}

const void* kernel_of(Element type, int channels) {
  switch (type) {
    case Element::fp16:
      return convolution_fp16(channels);
    case Element::bf16:
      return convolution_bf16(channels);
    case Element::fp32:
      break;
  }
  return convolution_fp32(channels);
}

/// The cost of a tile of so many output channels. The tensor cores need a time for each channel. Narrow tiles
/// are bound by the pixels that they read from shared memory, and those with one tap by the pixels that are
/// brought there.
std::int64_t tile_cost(int channels, bool one_tap) {
  return one_tap ? channels + 32 : std::max(channels, 32 + channels / 2);
}

/// The number of output channels of a tile that makes the busiest processor's work least.
int tile_channels(const ConvolutionCall& call, int processors) {
  constexpr int choices[] = {16, 32, 96, 128, 160, 192};  // of equal ones, the smaller is faster
  if (call.out.channels % 4 != 0) return narrow_tile;
  const bool one_tap = call.kernel.rows * call.kernel.columns == 1;
  const std::int64_t pixel_tiles = std::int64_t{call.out.frames} * divided(call.out.rows, tile_rows) *
                                   divided(call.out.columns, tile_columns);
  int best = 0;
  std::int64_t least = 0;
  for (const int channels : choices) {
    const std::int64_t tiles = pixel_tiles * divided(call.out.channels, channels);
    const std::int64_t cost = (tiles + processors - 1) / processors * tile_cost(channels, one_tap);
    if (best == 0 || cost < least) {
      best = channels;
      least = cost;
    }
  }
  return best;
}

cudaError_t count_processors(int& processors) {
  int device = 0;
  const cudaError_t status = cudaGetDevice(&device);
  if (status != cudaSuccess) return status;
  return cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
}

}  // namespace

cudaError_t launch_convolution(const ConvolutionCall& call, int channels, cudaStream_t stream) {
  int processors = 0;
  if (const cudaError_t status = count_processors(processors)) return status;
  ConvolutionPlan plan{};
  divide_work(plan, call, channels);
  map_addend(plan, call, channels);
  const void* const kernel = kernel_of(call.type, channels);
  if (kernel == nullptr || !map_pixels(plan, call) || !map_weight(plan, call, channels) ||
      !divide_memory(plan, channels)) {
    return cudaErrorInvalidValue;
  }
  if (const cudaError_t status =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_limit)) {
    return status;
  }
  const int shared =
      plan.box_ring * plan.box_pitch + plan.weight_ring * channels * box_width + shared_reserve;
  void* arguments[] = {&plan};
  return cudaLaunchKernel(kernel, dim3(std::min(plan.tiles, processors)), dim3(convolution_threads),
                          arguments, shared, stream);
}

cudaError_t launch_convolution_sm90(const ConvolutionCall& call, cudaStream_t stream) {
  int processors = 0;
  if (const cudaError_t status = count_processors(processors)) return status;
  return launch_convolution(call, tile_channels(call, processors), stream);
}

}  // namespace wan::kernels::cuda
