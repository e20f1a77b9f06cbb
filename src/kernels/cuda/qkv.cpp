#include "kernels/cuda/qkv.h"

#include <ATen/ATen.h>

#include "core/check.h"
#include "kernels/cuda/arguments.h"
#include "kernels/head_division.h"

namespace wan::kernels::cuda {

void norm_rotate_pack(const at::Tensor& qkv, const QkNorm& norm, const RotaryTable& table,
                      std::span<const at::Tensor> buffers, std::size_t short_chunk) {
  const char* const kernel = "norm_rotate_pack";
  check_rows(qkv.narrow(1, 0, qkv.size(1) / 3), kernel);
  const at::Tensor& first = buffers.front();  // [parts, tokens, 3, heads of the chunk, head_dim]
  const std::int64_t dim = qkv.size(1) / 3;
  const std::int64_t head_dim = first.size(4);
  WAN_CHECK(head_dim % row_multiple == 0, "GPU kernel {}: head_dim {} is no multiple of {}", kernel, head_dim,
            row_multiple);
  WAN_CHECK(buffers.size() <= max_head_chunks, "GPU kernel {}: {} chunks, it takes {}", kernel,
            buffers.size(), max_head_chunks);
  if (qkv.size(0) == 0) return;
  const at::Tensor norm_q = dense(norm.q, qkv.scalar_type(), dim, qkv, kernel);
  const at::Tensor norm_k = dense(norm.k, qkv.scalar_type(), dim, qkv, kernel);
  const std::int64_t angles = qkv.size(0) * head_dim / 2;
  const at::Tensor cos = dense(table.cos, at::kFloat, angles, qkv, kernel);  // [tokens, head_dim / 2]
  const at::Tensor sin = dense(table.sin, at::kFloat, angles, qkv, kernel);
  QkvRows rows{.qkv = qkv.const_data_ptr(),
               .qkv_stride = qkv.stride(0),
               .norm_q = norm_q.const_data_ptr(),
               .norm_k = norm_k.const_data_ptr(),
               .cos = cos.const_data_ptr<float>(),
               .sin = sin.const_data_ptr<float>(),
               .type = element_of(qkv, kernel),
               .copy_v = first.const_data_ptr() != qkv.const_data_ptr(),
               .tokens = qkv.size(0),
               .heads = static_cast<int>(dim / head_dim),
               .head_dim = static_cast<int>(head_dim),
               .eps = static_cast<float>(norm.eps)};
  int ends = 0;
  for (std::size_t chunk = 0; chunk < buffers.size(); ++chunk) {
    const at::Tensor& buffer = buffers[chunk];
    WAN_CHECK(buffer.is_contiguous() && buffer.device() == qkv.device(),
              "GPU kernel {}: buffer {} must be contiguous and on {}", kernel, chunk, qkv.device().str());
    check_rows(buffer.view({-1, head_dim}), kernel);
    rows.buffers[chunk] = buffer.mutable_data_ptr();
    rows.chunk_ends[chunk] = ends += static_cast<int>(buffer.size(3));
  }
  const HeadDivision division{.heads = rows.heads, .parts = first.size(0)};
  rows.heads_per_part = static_cast<int>(division.per_part());
  rows.full_parts = static_cast<int>(division.full_parts());
  rows.empty_place = rows.chunk_ends[short_chunk] - 1;
  const DeviceStream device(qkv);
  check_launch(launch_norm_rotate_pack(rows, device.stream()), kernel);
}

}  // namespace wan::kernels::cuda
