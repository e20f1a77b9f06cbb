#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>

#include "kernels/rotary.h"

namespace wan::kernels {

/// The learned RMS norms of q and k, each over all heads together (model.md 5.6): [dim], in qkv's type.
struct QkNorm {
  const at::Tensor& q;
  const at::Tensor& k;
  double eps;
};

/// Turns the product of the QKV projection into the input of attention, or of the exchange before attention.
/// q and k are normed (rounded as in rms_norm), rotated in fp32 and rounded once. v is copied.
///
/// The results are sorted by owner: buffers[c] is [parts, tokens, 3, heads of chunk c, head_dim], contiguous.
/// The parts own the heads as in HeadDivision. In a part, the first heads go to chunk 0, the next ones to
/// chunk 1, and so on. The last place of `short_chunk` stays as it is in parts with one head less.
///
/// qkv: [tokens, 3 * dim], dense rows; table: for the same tokens. With one part and one chunk the buffer may
/// be qkv's own memory. q and k are then changed in place, and v is not touched. Throws Error if the shapes
/// do not match.
void norm_rotate_pack(const at::Tensor& qkv, const QkNorm& norm, const RotaryTable& table,
                      std::span<const at::Tensor> buffers, std::size_t short_chunk = 0);

}  // namespace wan::kernels
