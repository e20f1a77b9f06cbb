#pragma once

#include <cstdint>

namespace wan::kernels::cuda {

/// bf16 [tokens, heads, 128]. The elements of a head are neighbours in memory; strides are in elements.
struct HeadRows {
  void* data = nullptr;
  std::int64_t token_stride = 0;
  std::int64_t head_stride = 0;
};

/// softmax(q k^T * scale) v per head, no mask. The last key and value count `last_repeats` times.
struct AttentionCall {
  HeadRows q;    ///< [queries, heads, 128]
  HeadRows k;    ///< [keys, heads, 128]
  HeadRows v;    ///< [keys, heads, 128]
  HeadRows out;  ///< [queries, heads, 128]
  int queries = 0;
  int keys = 0;
  int heads = 0;
  float scale = 0;
  int last_repeats = 1;  ///< our own kernel alone takes more than 1
};

}  // namespace wan::kernels::cuda
