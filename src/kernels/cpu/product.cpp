#include "kernels/cpu/product.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <memory>

#include "kernels/cpu/tile.h"

namespace wan::kernels::cpu {
namespace {

template <typename T>
struct Product {
  const T* x;
  std::int64_t x_stride, rows, depth, out;
  const T* panels;  ///< [panel][depth][width]
  const T* bias;    ///< null: none
  T* result;
  std::int64_t result_stride, row_chunks, chunk_rows;
};

/// One chunk of rows times one panel.
template <typename T, typename Isa>
WAN_INLINE void compute_chunk(const Product<T>& job, std::int64_t panel, std::int64_t chunk) {
  constexpr std::int64_t width = 2 * Vectors<T, Isa>::lanes;
  const std::int64_t end = std::min(job.rows, (chunk + 1) * job.chunk_rows);
  const std::int64_t used = std::min(width, job.out - panel * width);
  const T* bias = job.bias == nullptr ? nullptr : job.bias + panel * width;
  alignas(Isa::vector_bytes) T sums[Isa::positions * width];  // NOLINT(modernize-avoid-c-arrays)
  for (std::int64_t row = chunk * job.chunk_rows; row < end; row += Isa::positions) {
    const std::int64_t rows = std::min<std::int64_t>(Isa::positions, end - row);
    multiply_rows<T, Isa>(rows, job.x + row * job.x_stride, job.x_stride,
                          job.panels + panel * job.depth * width, job.depth, sums, width);
    for (std::int64_t r = 0; r < rows; ++r) {
      T* result = job.result + (row + r) * job.result_stride + panel * width;
      for (std::int64_t c = 0; c < used; ++c)
        result[c] = bias == nullptr ? sums[r * width + c] : sums[r * width + c] + bias[c];
    }
  }
}

template <typename T, typename Isa>
WAN_INLINE void compute_chunks(const Product<T>& job, std::int64_t first, std::int64_t end) {
  for (std::int64_t unit = first; unit < end; ++unit)
    compute_chunk<T, Isa>(job, unit / job.row_chunks, unit % job.row_chunks);
}

WAN_FOR_INSTRUCTION_SETS(compute_chunks, (const Product<float>& job, std::int64_t first, std::int64_t end),
                         float, (job, first, end))
WAN_FOR_INSTRUCTION_SETS(compute_chunks, (const Product<double>& job, std::int64_t first, std::int64_t end),
                         double, (job, first, end))

/// weight [out, in] of any type as panels of its outputs.
template <typename T>
void pack(T* panels, const at::Tensor& weight, std::int64_t width) {
  const std::int64_t out = weight.size(0);
  const std::int64_t depth = weight.size(1);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, weight.scalar_type(), "pack", [&] {
    const StridedMatrix<scalar_t> matrix{.values = weight.const_data_ptr<scalar_t>(),
                                         .depth_stride = weight.stride(1),
                                         .column_stride = weight.stride(0)};
    const std::int64_t grain = 1 + 65536 / std::max<std::int64_t>(1, depth * width);
    at::parallel_for(0, (out + width - 1) / width, grain, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t panel = first; panel < last; ++panel)
        pack_panel(panels + panel * depth * width, matrix, depth, panel * width,
                   std::min(width, out - panel * width), width);
    });
  });
}

template <typename T>
void run(const at::Tensor& out, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const std::int64_t width = panel_width<T>();
  const std::int64_t depth = x.size(1);
  const std::int64_t panels = (weight.size(0) + width - 1) / width;
  const auto packed = std::make_unique_for_overwrite<T[]>(  // NOLINT(modernize-avoid-c-arrays)
      static_cast<std::size_t>(panels * depth * width));
  pack(packed.get(), weight, width);
  constexpr std::int64_t chunk_rows = 240;  // a multiple of every tile's rows
  const Product<T> job{.x = x.const_data_ptr<T>(),
                       .x_stride = x.stride(0),
                       .rows = x.size(0),
                       .depth = depth,
                       .out = weight.size(0),
                       .panels = packed.get(),
                       .bias = bias.defined() ? bias.const_data_ptr<T>() : nullptr,
                       .result = out.mutable_data_ptr<T>(),
                       .result_stride = out.stride(0),
                       .row_chunks = (x.size(0) + chunk_rows - 1) / chunk_rows,
                       .chunk_rows = chunk_rows};
  constexpr std::int64_t worthwhile = 1 << 18;  // products for which a thread is worth its start
  const std::int64_t work = std::min(chunk_rows, job.rows) * depth * width;
  at::parallel_for(
      0, panels * job.row_chunks, 1 + worthwhile / std::max<std::int64_t>(1, work),
      [&](std::int64_t first, std::int64_t last) { WAN_CALL_WIDEST(compute_chunks, (job, first, last)); });
}

}  // namespace

void linear_out(const at::Tensor& out, const at::Tensor& x, const at::Tensor& weight,
                const at::Tensor& bias) {
  if (out.numel() == 0) return;
  const at::ScalarType type = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const bool is_wide = out.scalar_type() == type && out.stride(1) == 1;
  const at::Tensor sums = is_wide ? out : at::empty(out.sizes(), out.options().dtype(type));
  const auto wide = [&](const at::Tensor& values) {
    const at::Tensor result = values.to(type);
    return result.stride(-1) == 1 ? result : result.contiguous();
  };
  const at::Tensor wide_bias = bias.defined() ? wide(bias) : bias;
  if (type == at::kDouble) {
    run<double>(sums, wide(x), weight, wide_bias);
  } else {
    run<float>(sums, wide(x), weight, wide_bias);
  }
  if (!sums.is_same(out)) out.copy_(sums);
}

}  // namespace wan::kernels::cpu
