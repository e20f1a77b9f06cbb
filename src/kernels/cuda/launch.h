#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/limits.h"

// The launchers that the .cu files of this folder export. They take raw pointers, return the error of the
// launch and never wait for the GPU. Pointers are to device memory. Pointers and strides are aligned to 16
// bytes. Rows are dense unless a stride is named. The caller guarantees the shapes (normalization.cpp and
// qkv.cpp check them).
namespace wan::kernels::cuda {

/// The element type behind an untyped pointer.
enum class Element { fp32, bf16, fp16 };

/// x += gate * residual if there is a residual, then layer norm of x, then norm * (around_one ? 1 + weight :
/// weight) + bias. The types are fp32 and at most one 16-bit type.
struct LayerNormRows {
  float* x = nullptr;              ///< [tokens, dim]; written only with a residual
  const void* residual = nullptr;  ///< [tokens, dim], or null
  Element residual_type = Element::fp32;
  const float* gate = nullptr;   ///< [dim], or null for 1
  const void* weight = nullptr;  ///< [dim]
  const void* bias = nullptr;    ///< [dim]
  Element parameter_type = Element::fp32;
  bool around_one = false;
  bool round_norm = false;  ///< rounds the norm to bf16, before weight and bias
  void* out = nullptr;      ///< [tokens, dim]
  Element out_type = Element::fp32;
  /// Becomes 1 if a row of x holds a value that is not finite, and keeps its value otherwise; may be null.
  int* overflow = nullptr;
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
  Element type = Element::fp32;  ///< type of x, weight and out
  std::int64_t tokens = 0;
  int dim = 0;
  float eps = 0;
};
cudaError_t launch_rms_norm(const RmsNormRows& rows, cudaStream_t stream);

/// RMS norm and rotary embedding of q and k; v is copied. The results are sorted by the owner of the head.
struct QkvRows {
  const void* qkv = nullptr;             ///< [tokens, 3, heads, head_dim], dense from head to head
  std::int64_t qkv_stride = 0;           ///< elements from token to token
  const void* norm_q = nullptr;          ///< [heads * head_dim]
  const void* norm_k = nullptr;          ///< [heads * head_dim]
  const float* cos = nullptr;            ///< [tokens, head_dim / 2]
  const float* sin = nullptr;            ///< [tokens, head_dim / 2]
  Element type = Element::fp32;          ///< type of qkv, norm_q, norm_k and the buffers
  void* buffers[max_head_chunks] = {};   ///< chunks of [parts, tokens, 3, heads of the chunk, head_dim]
  int chunk_ends[max_head_chunks] = {};  ///< for each chunk, the first head of a part that lies beyond it
  bool copy_v = true;                    ///< false if the one buffer is qkv itself
  std::int64_t tokens = 0;
  int heads = 0;
  int head_dim = 0;
  int heads_per_part = 0;  ///< of the first `full_parts` parts; the parts after them have one less
  int full_parts = 1;
  int empty_place = 0;  ///< the place of a part that stays empty where it has one head less
  float eps = 0;
};
cudaError_t launch_norm_rotate_pack(const QkvRows& rows, cudaStream_t stream);

/// Elements [first, first + count) of a weight with so many columns, counted row-major: base + the shares of
/// LoRAs. Types are fp32 or bf16. Only `up` need be aligned.
struct LowRankRange {
  struct Share {
    const float* up = nullptr;    ///< [some rows, rank]
    const float* down = nullptr;  ///< [rank, columns]
    std::int64_t first_row = 0;   ///< the weight's row that `up` begins with
    int rank = 0;                 ///< 0: no pair
    double factor = 1;
    double strength = 1;
    const float* difference = nullptr;  ///< [count], or null
  };
  const void* base = nullptr;  ///< [count]
  Element base_type = Element::fp32;
  void* out = nullptr;  ///< [count]; may be base
  Element out_type = Element::fp32;
  std::int64_t first = 0;
  std::int64_t count = 0;
  std::int64_t columns = 0;
  Share shares[max_low_rank_shares] = {};
  int share_count = 0;
};
cudaError_t launch_add_low_rank(const LowRankRange& range, cudaStream_t stream);

}  // namespace wan::kernels::cuda
