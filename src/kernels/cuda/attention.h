#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace wan::kernels::cuda {

/// Whether the kernels for Hopper GPUs are in this build and take such inputs: compute capability 9.0, bf16,
/// head_dim 128.
bool has_sm90_attention(const at::Device& device, at::ScalarType type, std::int64_t head_dim);

/// kernels::attention_out() by our own kernel for Hopper GPUs, on the current stream. q: bf16 [queries,
/// heads, 128]; k, v: bf16 [keys, heads, 128]; strides of tokens and heads may be any multiple of 8 elements.
/// out: like q. The last key and value count `last_repeats` times. A row's bits depend on its own
/// query and on all keys and values only. Throws Error when the build has no such kernel or the launch fails.
void hopper_attention_out(at::Tensor& out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          std::int64_t last_repeats = 1);

/// The same by FlashInfer's kernel, in which every key counts once.
void flashinfer_attention_out(at::Tensor& out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

}  // namespace wan::kernels::cuda
