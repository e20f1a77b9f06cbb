#include "kernels/attention_backends.h"

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <tuple>

#include "kernels/attention.h"
#include "kernels/cpu/product.h"
#include "kernels/cuda/attention.h"
#include "kernels/device.h"
#include "kernels/row_limits.h"

namespace wan::kernels {
namespace {

/// [rows, heads, head_dim] -> [1, heads, rows, head_dim], a view.
at::Tensor heads_first(const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); }

/// [1, heads, rows, head_dim] -> [rows, heads, head_dim], a view.
at::Tensor rows_first(const at::Tensor& x) { return x.squeeze(0).transpose(0, 1); }

bool sm90_takes(const at::Device& device, at::ScalarType type, std::int64_t head_dim) {
  if constexpr (with_cuda) return device.is_cuda() && cuda::has_sm90_attention(device, type, head_dim);
  return false;
}

void attend_hopper(at::Tensor& out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   std::int64_t last_repeats) {
  if constexpr (with_cuda) cuda::hopper_attention_out(out, q, k, v, last_repeats);
}

void attend_flashinfer(at::Tensor& out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       std::int64_t /*last_repeats*/) {
  if constexpr (with_cuda) cuda::flashinfer_attention_out(out, q, k, v);
}

bool cudnn_takes(const at::Device& device, at::ScalarType type, std::int64_t head_dim) {
  constexpr std::int64_t max_head_dim = 128;
  return device.is_cuda() && (type == at::kBFloat16 || type == at::kHalf) && head_dim % 8 == 0 &&
         head_dim <= max_head_dim;
}

at::Tensor attend_cudnn(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return rows_first(std::get<0>(at::_scaled_dot_product_cudnn_attention(
      heads_first(q), heads_first(k), heads_first(v), /*attn_bias=*/{}, /*compute_log_sumexp=*/false)));
}

bool math_takes(const at::Device& device, at::ScalarType type, std::int64_t head_dim) {
  return device.is_cpu() || (device.is_cuda() && fits_efficient_attention(type, head_dim));
}

at::Tensor attend_math(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  if (q.is_cpu()) {
    at::Tensor out = at::empty(q.sizes(), q.options());
    cpu::attention_out(out, q, k, v, 1 / std::sqrt(static_cast<double>(q.size(2))));
    return out;
  }
  return rows_first(std::get<0>(at::_scaled_dot_product_efficient_attention(
      heads_first(q), heads_first(k), heads_first(v), /*attn_bias=*/{}, /*compute_log_sumexp=*/false)));
}

/// Also takes tensors without memory, which the outline of a network has (parallel/outline.h).
bool reference_takes(const at::Device& /*device*/, at::ScalarType /*type*/, std::int64_t /*head_dim*/) {
  return true;
}

/// The order in which `automatic` tries them, measured on an H200 (analysis/results/attention_h200.md): with
/// 40 heads of 128 and 32,760 queries, our own kernel makes 714 TFLOP/s, FlashInfer's 670 and cuDNN 544 with
/// as many keys; 631, 424 and 518 with a text's 512 keys.
constexpr std::array rows{
    AttentionRow{
        .name = "hopper",
        .description = "our own Hopper kernel, if built in: compute capability 9.0, bf16, heads of 128",
        .takes = sm90_takes,
        .attend_into = attend_hopper,
        .counts_repeats = true},
    AttentionRow{.name = "flashinfer",
                 .description =
                     "FlashInfer's Hopper kernel, if built in: compute capability 9.0, bf16, heads "
                     "of 128",
                 .automatic_from_keys = 2048,
                 .takes = sm90_takes,
                 .attend_into = attend_flashinfer},
    AttentionRow{.name = "cudnn",
                 .description = "cuDNN: GPU, bf16 or fp16, heads of a multiple of 8 up to 128",
                 .takes = cudnn_takes,
                 .attend = attend_cudnn},
    AttentionRow{.name = "math",
                 .description =
                     "any type; on a GPU ATen's memory-efficient kernel, heads of a multiple of 16 bytes; on "
                     "the CPU our own",
                 .takes = math_takes,
                 .attend = attend_math},
    AttentionRow{.name = "reference",
                 .description = "the formula written out: takes everything, holds a score for each query and "
                                "key",
                 .takes = reference_takes,
                 .attend = attention_reference},
};

}  // namespace

std::span<const AttentionRow> attention_rows() { return rows; }

}  // namespace wan::kernels
