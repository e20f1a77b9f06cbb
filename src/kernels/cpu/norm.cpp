#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/cpu/convolution.h"
#include "kernels/cpu/exponential.h"
#include "kernels/cpu/instruction_set.h"

namespace wan::kernels::cpu {
namespace {

template <typename T>
struct NormJob {
  const T* x;
  T* out;
  const T* gamma;
  std::int64_t channels, columns, rows;
  std::array<std::int64_t, 3> x_strides, out_strides;  ///< frames, rows, columns
  T root;                                              ///< of channels
  bool silu;
};

/// Positions [first, end), counted frame by frame, row by row.
template <typename T, typename Isa>
WAN_INLINE void norm_range(const NormJob<T>& job, std::int64_t first, std::int64_t end) {
  constexpr int lanes = 16;
  for (std::int64_t index = first; index < end; ++index) {
    const std::int64_t column = index % job.columns;
    const std::int64_t row = index / job.columns % job.rows;
    const std::int64_t frame = index / job.columns / job.rows;
    const T* x = job.x + frame * job.x_strides[0] + row * job.x_strides[1] + column * job.x_strides[2];
    T* out = job.out + frame * job.out_strides[0] + row * job.out_strides[1] + column * job.out_strides[2];
    std::array<T, lanes> squares{};
    std::int64_t c = 0;
    for (; c + lanes <= job.channels; c += lanes)
      for (int lane = 0; lane < lanes; ++lane) squares[lane] += x[c + lane] * x[c + lane];
    for (; c < job.channels; ++c) squares[c % lanes] += x[c] * x[c];
    T sum = 0;
    for (const T square : squares) sum += square;
    const T norm = std::sqrt(sum);
    const T least = static_cast<T>(1e-12);
    const T scale = job.root / (norm < least ? least : norm);
    for (c = 0; c < job.channels; ++c) out[c] = x[c] * scale * job.gamma[c];
    if (!job.silu) continue;
    for (c = 0; c < job.channels; ++c) out[c] = out[c] / (1 + exponential(-out[c]));
  }
}

WAN_FOR_INSTRUCTION_SETS(norm_range, (const NormJob<float>& job, std::int64_t first, std::int64_t end), float,
                         (job, first, end))
WAN_FOR_INSTRUCTION_SETS(norm_range, (const NormJob<double>& job, std::int64_t first, std::int64_t end),
                         double, (job, first, end))

template <typename T>
void run(const at::Tensor& out, const at::Tensor& x, const at::Tensor& gamma, bool silu) {
  const NormJob<T> job{.x = x.const_data_ptr<T>(),
                       .out = out.mutable_data_ptr<T>(),
                       .gamma = gamma.const_data_ptr<T>(),
                       .channels = x.size(3),
                       .columns = x.size(2),
                       .rows = x.size(1),
                       .x_strides = {x.stride(0), x.stride(1), x.stride(2)},
                       .out_strides = {out.stride(0), out.stride(1), out.stride(2)},
                       .root = static_cast<T>(std::sqrt(static_cast<double>(x.size(3)))),
                       .silu = silu};
  const std::int64_t grain = 1 + 16384 / std::max<std::int64_t>(1, x.size(3));
  at::parallel_for(0, x.size(0) * x.size(1) * x.size(2), grain, [&](std::int64_t first, std::int64_t last) {
    WAN_CALL_WIDEST(norm_range, (job, first, last));
  });
}

}  // namespace

void rms_norm_silu_out(const at::Tensor& out, const at::Tensor& x, const at::Tensor& gamma, bool silu) {
  const at::ScalarType type = gamma.scalar_type();
  const bool is_wide = out.scalar_type() == type;
  const at::Tensor made = is_wide && out.stride(3) == 1 ? out : at::empty(out.sizes(), gamma.options());
  const at::Tensor wide = x.to(type);
  type == at::kDouble ? run<double>(made, wide, gamma.contiguous(), silu)
                      : run<float>(made, wide, gamma.contiguous(), silu);
  if (!made.is_same(out)) out.copy_(made);
}

}  // namespace wan::kernels::cpu
