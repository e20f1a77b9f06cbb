#include "kernels/cpu/convolution.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cpu/instruction_set.h"

namespace wan::kernels::cpu {
namespace {

/// One convolution of fp32 or fp64 values.
template <typename T>
struct Job {
  const T* x;
  std::array<std::int64_t, 3> sizes, strides;  ///< x's frames, rows, columns and their distances in values
  std::int64_t in, out;
  std::array<std::int64_t, 3> kernel, step, before;
  const T* weight;  ///< packed(): [panel][tap and channel][panel's width]
  const T* bias;    ///< [panels * panel's width]
  const T* zeros;   ///< [in]: the channels outside x
  T* result;
  const T* addend;  ///< null: none
  std::array<std::int64_t, 3> result_sizes, result_strides, addend_strides;

  std::int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  std::int64_t positions() const { return result_sizes[0] * result_sizes[1] * result_sizes[2]; }
};

using Position = std::array<std::int64_t, 3>;  ///< frame, row, column

template <typename T>
Position position_of(const Job<T>& job, std::int64_t index) {
  const std::int64_t rows = index / job.result_sizes[2];
  return {rows / job.result_sizes[1], rows % job.result_sizes[1], index % job.result_sizes[2]};
}

std::int64_t offset_of(const Position& position, const std::array<std::int64_t, 3>& strides) {
  return position[0] * strides[0] + position[1] * strides[1] + position[2] * strides[2];
}

/// The channels that a position's window has at tap (t, h, w).
template <typename T>
WAN_INLINE const T* channels_at(const Job<T>& job, const Position& position, const Position& tap) {
  std::int64_t offset = 0;
  for (int axis = 0; axis < 3; ++axis) {
    const std::int64_t at = position[axis] * job.step[axis] + tap[axis] - job.before[axis];
    if (at < 0 || at >= job.sizes[axis]) return job.zeros;
    offset += at * job.strides[axis];
  }
  return job.x + offset;
}

/// Values [first, first + positions) of one panel of outputs. Positions beyond `end` repeat the last one and
/// are not stored.
template <typename T, typename Isa>
WAN_INLINE void compute_tile(const Job<T>& job, std::int64_t panel, std::int64_t first, std::int64_t end) {
  constexpr int lanes = Isa::vector_bytes / sizeof(T);
  constexpr int width = 2 * lanes;
  using Vector [[gnu::vector_size(Isa::vector_bytes)]] = T;
  std::array<Position, Isa::positions> positions;
  for (int p = 0; p < Isa::positions; ++p) positions[p] = position_of(job, std::min(first + p, end - 1));
  // Each tap is summed by itself, which makes rounding errors smaller than one long sum does.
  Vector sums[Isa::positions][2] = {};  // NOLINT(modernize-avoid-c-arrays)
  const T* weight = job.weight + panel * job.taps() * job.in * width;
  for (std::int64_t t = 0; t < job.kernel[0]; ++t) {
    for (std::int64_t h = 0; h < job.kernel[1]; ++h) {
      for (std::int64_t w = 0; w < job.kernel[2]; ++w) {
        std::array<const T*, Isa::positions> x;
        for (int p = 0; p < Isa::positions; ++p) x[p] = channels_at(job, positions[p], {t, h, w});
        Vector tap[Isa::positions][2] = {};  // NOLINT(modernize-avoid-c-arrays)
        for (std::int64_t c = 0; c < job.in; ++c, weight += width) {
          Vector low, high;
          std::memcpy(&low, weight, sizeof(Vector));
          std::memcpy(&high, weight + lanes, sizeof(Vector));
#pragma GCC unroll 12
          for (int p = 0; p < Isa::positions; ++p) {
            tap[p][0] += low * x[p][c];
            tap[p][1] += high * x[p][c];
          }
        }
        for (int p = 0; p < Isa::positions; ++p) {
          sums[p][0] += tap[p][0];
          sums[p][1] += tap[p][1];
        }
      }
    }
  }
  const std::int64_t outputs = std::min<std::int64_t>(width, job.out - panel * width);
  for (int p = 0; p < Isa::positions && first + p < end; ++p) {
    std::array<T, width> values;
    std::memcpy(values.data(), sums[p], sizeof(values));
    T* result = job.result + offset_of(positions[p], job.result_strides) + panel * width;
    const T* addend = job.addend == nullptr
                          ? nullptr
                          : job.addend + offset_of(positions[p], job.addend_strides) + panel * width;
    for (std::int64_t o = 0; o < outputs; ++o) {
      const T value = values[o] + job.bias[panel * width + o];
      result[o] = addend == nullptr ? value : value + addend[o];
    }
  }
}

template <typename T, typename Isa>
WAN_INLINE void compute_range(const Job<T>& job, std::int64_t first, std::int64_t end) {
  constexpr std::int64_t width = 2 * Isa::vector_bytes / sizeof(T);
  // A panel's weights serve some positions one after the other, which share most of their windows.
  constexpr std::int64_t block = 16 * Isa::positions;
  for (std::int64_t begin = first; begin < end; begin += block) {
    const std::int64_t stop = std::min(begin + block, end);
    for (std::int64_t panel = 0; panel * width < job.out; ++panel) {
      for (std::int64_t tile = begin; tile < stop; tile += Isa::positions)
        compute_tile<T, Isa>(job, panel, tile, stop);
    }
  }
}

WAN_FOR_INSTRUCTION_SETS(compute_range, (const Job<float>& job, std::int64_t first, std::int64_t end), float,
                         (job, first, end))
WAN_FOR_INSTRUCTION_SETS(compute_range, (const Job<double>& job, std::int64_t first, std::int64_t end),
                         double, (job, first, end))

/// [out, taps * in] -> [panels, taps * in, width], zeros where there is no output.
template <typename T>
std::vector<T> packed(const at::Tensor& weight, std::int64_t width) {
  const std::int64_t out = weight.size(0);
  const std::int64_t depth = weight.numel() / out;
  const std::int64_t panels = (out + width - 1) / width;
  std::vector<T> result(static_cast<std::size_t>(panels * depth * width));
  const T* source = weight.const_data_ptr<T>();
  at::parallel_for(0, panels, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t panel = first; panel < last; ++panel) {
      const std::int64_t used = std::min(width, out - panel * width);
      T* target = result.data() + panel * depth * width;
      for (std::int64_t k = 0; k < depth; ++k) {
        for (std::int64_t o = 0; o < used; ++o)
          target[k * width + o] = source[(panel * width + o) * depth + k];
      }
    }
  });
  return result;
}

std::array<std::int64_t, 3> first_three(at::IntArrayRef values) { return {values[0], values[1], values[2]}; }

template <typename T>
void run(const at::Tensor& out, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
         const ConvolutionShape& shape, const at::Tensor& addend) {
  const std::int64_t width = std::int64_t{2} * vector_bytes() / static_cast<std::int64_t>(sizeof(T));
  const std::vector<T> panels = packed<T>(weight, width);
  std::vector<T> padded_bias(static_cast<std::size_t>((weight.size(0) + width - 1) / width * width));
  std::copy_n(bias.const_data_ptr<T>(), weight.size(0), padded_bias.begin());
  const std::vector<T> zeros(static_cast<std::size_t>(x.size(3)));
  const Job<T> job{
      .x = x.const_data_ptr<T>(),
      .sizes = first_three(x.sizes()),
      .strides = first_three(x.strides()),
      .in = x.size(3),
      .out = weight.size(0),
      .kernel = {weight.size(1), weight.size(2), weight.size(3)},
      .step = shape.stride,
      .before = shape.before,
      .weight = panels.data(),
      .bias = padded_bias.data(),
      .zeros = zeros.data(),
      .result = out.mutable_data_ptr<T>(),
      .addend = addend.defined() ? addend.const_data_ptr<T>() : nullptr,
      .result_sizes = first_three(out.sizes()),
      .result_strides = first_three(out.strides()),
      .addend_strides = addend.defined() ? first_three(addend.strides()) : std::array<std::int64_t, 3>{}};
  constexpr std::int64_t worthwhile = 1 << 18;  // products for which a thread is worth its start
  const std::int64_t grain = 1 + worthwhile / std::max<std::int64_t>(1, weight.numel());
  at::parallel_for(0, job.positions(), grain, [&](std::int64_t first, std::int64_t last) {
    WAN_CALL_WIDEST(compute_range, (job, first, last));
  });
}

}  // namespace

void convolve_out(const at::Tensor& out, const at::Tensor& x, const at::Tensor& weight,
                  const at::Tensor& bias, const ConvolutionShape& shape, const at::Tensor& addend) {
  const at::ScalarType type = bias.scalar_type();
  const bool is_wide = out.scalar_type() == type;
  const at::Tensor sums = is_wide && out.stride(3) == 1 ? out : at::empty(out.sizes(), bias.options());
  const at::Tensor wide_addend = addend.defined() ? addend.to(type) : addend;
  const auto compute = [&]<typename T>(T /*value*/) {
    run<T>(sums, x.to(type), weight.to(type).contiguous(), bias.contiguous(), shape, wide_addend);
  };
  type == at::kDouble ? compute(double{}) : compute(float{});
  if (!sums.is_same(out)) out.copy_(sums);
}

}  // namespace wan::kernels::cpu
