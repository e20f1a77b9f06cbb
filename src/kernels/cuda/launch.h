#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/limits.h"

// What the .cu files of this folder export: launchers over raw pointers. Each returns what the launch
// returned; none waits for the GPU. Pointers are to device memory and aligned to 16 bytes, strides too; rows
// are dense unless a stride is named. Shapes are the caller's promise (checked in normalization.cpp and
// qkv.cpp).
namespace wan::kernels::cuda {

/// What an untyped pointer points to.
enum class Element { fp32, bf16 };

/// x += gate * residual where there is one, then layer norm of x, then
/// norm * (around_one ? 1 + weight : weight) + bias.
struct LayerNormRows {
  float* x = nullptr;              ///< [tokens, dim]; written only with a residual
  const void* residual = nullptr;  ///< [tokens, dim], or null
  Element residual_type = Element::fp32;
  const float* gate = nullptr;   ///< [dim], or null for 1
  const void* weight = nullptr;  ///< [dim]
  const void* bias = nullptr;    ///< [dim]
  Element parameter_type = Element::fp32;
  bool around_one = false;
  bool round_norm = false;  ///< to bf16, before weight and bias
  void* out = nullptr;      ///< [tokens, dim]
  Element out_type = Element::fp32;
  std::int64_t tokens = 0;
  int dim = 0;
  float eps = 0;
};
cudaError_t launch_layer_norm(const LayerNormRows& rows, cudaStream_t stream);

/// x += gate * residual.
struct GatedRows {
  float* x = nullptr;              ///< [tokens, dim]
  const void* residual = nullptr;  ///< [tokens, dim]
  Element residual_type = Element::fp32;
  const float* gate = nullptr;  ///< [dim], or null for 1
  std::int64_t tokens = 0;
  int dim = 0;
};
cudaError_t launch_add_gated(const GatedRows& rows, cudaStream_t stream);

/// Root-mean-square norm, rounded to the type, times weight, rounded again.
struct RmsNormRows {
  const void* x = nullptr;       ///< [tokens, dim]
  std::int64_t x_stride = 0;     ///< elements from row to row
  const void* weight = nullptr;  ///< [dim]
  void* out = nullptr;           ///< [tokens, dim]
  Element type = Element::fp32;  ///< of all three
  std::int64_t tokens = 0;
  int dim = 0;
  float eps = 0;
};
cudaError_t launch_rms_norm(const RmsNormRows& rows, cudaStream_t stream);

/// RMS norm and rotary embedding of q and k, and v as it is, sorted by the owner of the head.
struct QkvRows {
  const void* qkv = nullptr;             ///< [tokens, 3, heads, head_dim], dense from head to head
  std::int64_t qkv_stride = 0;           ///< elements from token to token
  const void* norm_q = nullptr;          ///< [heads * head_dim]
  const void* norm_k = nullptr;          ///< [heads * head_dim]
  const float* cos = nullptr;            ///< [tokens, head_dim / 2]
  const float* sin = nullptr;            ///< [tokens, head_dim / 2]
  Element type = Element::fp32;          ///< of qkv, norm_q, norm_k and the buffers
  void* buffers[max_head_chunks] = {};   ///< chunks of [parts, tokens, 3, heads of the chunk, head_dim]
  int chunk_ends[max_head_chunks] = {};  ///< of the heads of a part, the first beyond each chunk
  bool copy_v = true;                    ///< false when the one buffer is qkv itself
  std::int64_t tokens = 0;
  int heads = 0;
  int head_dim = 0;
  int parts = 1;
  float eps = 0;
};
cudaError_t launch_norm_rotate_pack(const QkvRows& rows, cudaStream_t stream);

}  // namespace wan::kernels::cuda
