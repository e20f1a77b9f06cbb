#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <vector>

namespace wan::kernels {

/// Whose kernel computes attention. The choice is made here, never by ATen's dispatch, which on compute
/// capability 9.x could fall back to a kernel of half the speed.
enum class AttentionBackend {
  automatic,   ///< what attention_backend_for() says
  cudnn,       ///< GPU, bf16 or fp16, head_dim a multiple of 8 up to 128
  flashinfer,  ///< FlashInfer's Hopper kernel: compute capability 9.0, bf16, head_dim 128; only if built in
  math,        ///< ATen's memory-efficient kernel, any type; on a GPU heads of a multiple of 16 bytes; fp32
               ///< products keep fp32's accuracy
  reference,   ///< attention_reference(): holds [heads, queries, keys] in memory
};

std::string_view to_string(AttentionBackend backend);

/// The backend of that name. Throws UsageError with the names there are.
AttentionBackend parse_attention_backend(std::string_view name);

/// What `automatic` means for inputs on `device` in `type` with that many keys: the reference for heads of a
/// size that no other kernel takes (toy models); on a GPU in bf16 cuDNN, but FlashInfer on Hopper where it is
/// built in and the keys are many. Measured on an H200 at 40 heads of 128 and 32,760 queries: FlashInfer 658
/// TFLOP/s and cuDNN 576 with as many keys, 376 and 551 with a text's 512.
AttentionBackend attention_backend_for(const at::Device& device, at::ScalarType type, std::int64_t head_dim,
                                       std::int64_t keys);

/// All that can compute attention for such inputs, in this build on this machine.
std::vector<AttentionBackend> available_attention_backends(const at::Device& device, at::ScalarType type,
                                                           std::int64_t head_dim);

/// Throws UsageError, with the names of those that can, unless `backend` can compute attention for such
/// inputs; `automatic` always can.
void require_attention_backend(AttentionBackend backend, const at::Device& device, at::ScalarType type,
                               std::int64_t head_dim);

/// softmax(q k^T / sqrt(head_dim)) v, no mask. q: [queries, heads, head_dim]; k, v: [keys, heads, head_dim],
/// any strides but of a head's elements, which are neighbours. Returns [queries, heads, head_dim]. Throws
/// UsageError when `backend` cannot take these inputs.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     AttentionBackend backend = AttentionBackend::automatic);

/// The same into `out`: [queries, heads, head_dim], dense, in q's type.
void attention_out(at::Tensor& out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   AttentionBackend backend = AttentionBackend::automatic);

/// The same written out, in the inputs' type: what fast versions are held to.
at::Tensor attention_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

}  // namespace wan::kernels
