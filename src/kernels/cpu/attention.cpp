#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/cpu/exponential.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/tile.h"

namespace wan::kernels::cpu {
namespace {

template <typename T>
struct Attention {
  const T* q;
  T* out;
  std::int64_t q_row_stride, q_head_stride, out_row_stride, out_head_stride;
  std::int64_t queries, keys, head_dim, out_dim;
  const T* k_panels;  ///< [head][panel of keys][head_dim][width]
  const T* v_panels;  ///< [head][panel of elements][keys][width]
  T scale;
  bool rounds_weights;        ///< softmax's values, before their division by their sum, become bf16
  std::int64_t query_blocks;  ///< of a head, each of a tile's rows

  std::int64_t score_stride(std::int64_t width) const { return (keys + width - 1) / width * width; }
};

/// The exponentials of a row's scores above its largest one, in place. Returns their sum.
template <typename T>
WAN_INLINE T exponentials(T* scores, std::int64_t keys, T scale) {
  constexpr int lanes = 16;
  std::array<T, lanes> largest;
  largest.fill(scores[0]);
  std::int64_t k = 0;
  for (; k + lanes <= keys; k += lanes)
    for (int lane = 0; lane < lanes; ++lane)
      largest[lane] = scores[k + lane] > largest[lane] ? scores[k + lane] : largest[lane];
  for (; k < keys; ++k) largest[0] = std::max(largest[0], scores[k]);
  const T most = *std::max_element(largest.begin(), largest.end());
  for (k = 0; k < keys; ++k) scores[k] = exponential((scores[k] - most) * scale);
  std::array<T, lanes> sums{};
  k = 0;
  for (; k + lanes <= keys; k += lanes)
    for (int lane = 0; lane < lanes; ++lane) sums[lane] += scores[k + lane];
  for (; k < keys; ++k) sums[k % lanes] += scores[k];
  T sum = 0;
  for (const T part : sums) sum += part;
  return sum;
}

/// To the nearest bf16, a tie to the even one.
WAN_INLINE float round_to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return std::bit_cast<float>((bits + 0x7fffU + (bits >> 16U & 1U)) & 0xffff0000U);
}
WAN_INLINE double round_to_bf16(double x) { return round_to_bf16(static_cast<float>(x)); }

/// Blocks of queries [first, end), counted head by head.
template <typename T, typename Isa>
WAN_INLINE void attend_blocks(const Attention<T>& job, T* scores, std::int64_t first, std::int64_t end) {
  constexpr std::int64_t width = 2 * Vectors<T, Isa>::lanes;
  const std::int64_t stride = job.score_stride(width);
  const std::int64_t out_panels = (job.out_dim + width - 1) / width;
  alignas(Isa::vector_bytes) T sums[Isa::positions * width];  // NOLINT(modernize-avoid-c-arrays)
  for (std::int64_t block = first; block < end; ++block) {
    const std::int64_t head = block / job.query_blocks;
    const std::int64_t query = block % job.query_blocks * Isa::positions;
    const std::int64_t rows = std::min<std::int64_t>(Isa::positions, job.queries - query);
    const T* q = job.q + query * job.q_row_stride + head * job.q_head_stride;
    for (std::int64_t key = 0; key < job.keys; key += width)
      multiply_rows<T, Isa>(rows, q, job.q_row_stride, job.k_panels + (head * stride + key) * job.head_dim,
                            job.head_dim, scores + key, stride);
    std::array<T, Isa::positions> totals;
    for (std::int64_t r = 0; r < rows; ++r) {
      T* row = scores + r * stride;
      totals[r] = exponentials(row, job.keys, job.scale);
      if (!job.rounds_weights) continue;
      for (std::int64_t k = 0; k < job.keys; ++k) row[k] = round_to_bf16(row[k]);
    }
    for (std::int64_t panel = 0; panel < out_panels; ++panel) {
      multiply_rows<T, Isa>(rows, scores, stride,
                            job.v_panels + (head * out_panels + panel) * job.keys * width, job.keys, sums,
                            width);
      const std::int64_t used = std::min(width, job.out_dim - panel * width);
      for (std::int64_t r = 0; r < rows; ++r) {
        T* out = job.out + (query + r) * job.out_row_stride + head * job.out_head_stride + panel * width;
        for (std::int64_t c = 0; c < used; ++c) out[c] = sums[r * width + c] / totals[r];
      }
    }
  }
}

WAN_FOR_INSTRUCTION_SETS(attend_blocks,
                         (const Attention<float>& job, float* scores, std::int64_t first, std::int64_t end),
                         float, (job, scores, first, end))
WAN_FOR_INSTRUCTION_SETS(attend_blocks,
                         (const Attention<double>& job, double* scores, std::int64_t first, std::int64_t end),
                         double, (job, scores, first, end))

/// The panels of every head's matrix [depth, columns] of x, where `depth_axis` of [rows, elements] is the
/// depth.
template <typename T>
std::unique_ptr<T[]> pack_heads(const at::Tensor& x, int depth_axis) {  // NOLINT(modernize-avoid-c-arrays)
  const std::int64_t width = panel_width<T>();
  const std::int64_t depth = x.size(depth_axis == 0 ? 0 : 2);
  const std::int64_t columns = x.size(depth_axis == 0 ? 2 : 0);
  const std::int64_t panels = (columns + width - 1) / width;
  auto packed = std::make_unique_for_overwrite<T[]>(  // NOLINT(modernize-avoid-c-arrays)
      static_cast<std::size_t>(x.size(1) * panels * depth * width));
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "pack_heads", [&] {
    at::parallel_for(0, x.size(1) * panels, 1 + 65536 / std::max<std::int64_t>(1, depth * width),
                     [&](std::int64_t first, std::int64_t last) {
                       for (std::int64_t i = first; i < last; ++i) {
                         const StridedMatrix<scalar_t> matrix{
                             .values = x.const_data_ptr<scalar_t>() + i / panels * x.stride(1),
                             .depth_stride = x.stride(depth_axis),
                             .column_stride = x.stride(2 - depth_axis)};
                         const std::int64_t column = i % panels * width;
                         pack_panel(packed.get() + i * depth * width, matrix, depth, column,
                                    std::min(width, columns - column), width);
                       }
                     });
  });
  return packed;
}

template <typename T>
void run(const at::Tensor& out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) {
  const auto k_panels = pack_heads<T>(k, 2);
  const auto v_panels = pack_heads<T>(v, 0);
  const std::int64_t tile = vector_bytes() == Vectors512::vector_bytes   ? Vectors512::positions
                            : vector_bytes() == Vectors256::vector_bytes ? Vectors256::positions
                                                                         : Vectors128::positions;
  const Attention<T> job{.q = q.const_data_ptr<T>(),
                         .out = out.mutable_data_ptr<T>(),
                         .q_row_stride = q.stride(0),
                         .q_head_stride = q.stride(1),
                         .out_row_stride = out.stride(0),
                         .out_head_stride = out.stride(1),
                         .queries = q.size(0),
                         .keys = k.size(0),
                         .head_dim = q.size(2),
                         .out_dim = v.size(2),
                         .k_panels = k_panels.get(),
                         .v_panels = v_panels.get(),
                         .scale = static_cast<T>(scale),
                         .rounds_weights = k.scalar_type() == at::kBFloat16,
                         .query_blocks = (q.size(0) + tile - 1) / tile};
  const std::int64_t score_count = tile * job.score_stride(panel_width<T>());
  constexpr std::int64_t worthwhile = 1 << 18;  // products for which a thread is worth its start
  const std::int64_t work = tile * job.keys * (job.head_dim + job.out_dim);
  at::parallel_for(0, q.size(1) * job.query_blocks, 1 + worthwhile / std::max<std::int64_t>(1, work),
                   [&](std::int64_t first, std::int64_t last) {
                     std::vector<T> scores(static_cast<std::size_t>(score_count));
                     WAN_CALL_WIDEST(attend_blocks, (job, scores.data(), first, last));
                   });
}

}  // namespace

void attention_out(const at::Tensor& out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   double scale) {
  if (out.numel() == 0) return;
  const at::ScalarType type = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const bool is_wide = out.scalar_type() == type && out.stride(2) == 1;
  const at::Tensor made = is_wide ? out : at::empty(out.sizes(), out.options().dtype(type));
  const at::Tensor dense = q.stride(2) == 1 ? q : q.contiguous();
  if (type == at::kDouble) {
    run<double>(made, dense, k, v, scale);
  } else {
    run<float>(made, dense.to(type), k, v, scale);
  }
  if (!made.is_same(out)) out.copy_(made);
}

}  // namespace wan::kernels::cpu
