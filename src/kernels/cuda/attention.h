#pragma once

#include <ATen/core/Tensor.h>

namespace wan::kernels::cuda {

/// Whether FlashInfer's kernel is in this build and takes such inputs: compute capability 9.0, bf16, head_dim
/// 128.
bool has_flashinfer(const at::Device& device, at::ScalarType type, std::int64_t head_dim);

/// kernels::attention_out() by FlashInfer, on the current stream. q: bf16 [queries, heads, 128]; k, v: bf16
/// [keys, heads, 128]; strides of tokens and heads may be any multiple of 8 elements. out: like q, dense.
/// Throws Error when the build has no FlashInfer or the launch fails.
void flashinfer_attention_out(at::Tensor& out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

}  // namespace wan::kernels::cuda
