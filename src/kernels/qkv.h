#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "kernels/rotary.h"

namespace wan::kernels {

/// The learned RMS norms of q and k, each over all heads together (model.md 5.6): [dim], in qkv's type.
struct QkNorm {
  const at::Tensor& q;
  const at::Tensor& k;
  double eps;
};

/// From the product of the QKV projection to what attention, or the exchange before it, takes: q and k normed
/// (rounded as rms_norm does), turned in fp32 and rounded once; v as it is. All sorted by owner: buffers[c]
/// is [parts, tokens, 3, heads of chunk c, head_dim], contiguous. Head h goes to part h / heads_per_part,
/// with heads_per_part the sum over all chunks, and there the first heads to chunk 0, the next to chunk 1 and
/// so on. qkv: [tokens, 3 * dim], rows dense; table: of the same tokens. With one part and one chunk the
/// buffer may be qkv's own memory: q and k are then changed in place and v is not touched. Throws Error when
/// the shapes do not fit together.
void norm_rotate_pack(const at::Tensor& qkv, const QkNorm& norm, const RotaryTable& table,
                      std::span<const at::Tensor> buffers);

}  // namespace wan::kernels
