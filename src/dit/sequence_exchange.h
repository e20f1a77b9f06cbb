#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/head_division.h"

namespace wan::dit {

/// How a sequence and its heads are divided over the parts of an exchange (model.md 8.2). Part p owns the
/// tokens [p * local_tokens, (p + 1) * local_tokens). It computes attention for its heads of division().
struct SequenceShape {
  int parts = 1;
  int part = 0;
  std::int64_t tokens = 0;        ///< tokens of the video
  std::int64_t local_tokens = 0;  ///< ceil(tokens / parts); the last part ends in padding
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  /// The heads in each exchange of a part that has the most heads, in the order of the exchanges. A part with
  /// one head less has all of these places too, and leaves the last one of short_chunk() empty.
  std::vector<std::int64_t> chunk_heads;

  std::int64_t padded_tokens() const { return parts * local_tokens; }
  std::int64_t first_token() const { return part * local_tokens; }
  kernels::HeadDivision division() const { return {.heads = heads, .parts = parts}; }
  int chunks() const { return static_cast<int>(chunk_heads.size()); }
  std::int64_t places_of(int chunk) const { return chunk_heads.at(static_cast<std::size_t>(chunk)); }
  /// The largest chunk, where one head less matters least.
  int short_chunk() const {
    return static_cast<int>(std::ranges::max_element(chunk_heads) - chunk_heads.begin());
  }
  /// This part's own heads of a chunk.
  std::int64_t heads_of(int chunk) const {
    const bool is_short = part >= division().full_parts() && chunk == short_chunk();
    return places_of(chunk) - (is_short ? 1 : 0);
  }
  /// One part and one chunk: nothing is sent or reordered.
  bool is_undivided() const { return parts == 1 && chunks() == 1; }
};

/// The port through which attention sees the whole sequence, while every rank holds only its tokens. For each
/// chunk of heads: fill qkv_buffer, launch_qkv, wait_qkv; compute attention; fill attention_buffer,
/// launch_attention, wait_attention. Code between a launch and its wait may compute, but must not touch that
/// chunk's buffers. With one part, both directions are the identity. An undivided shape has no
/// attention_buffer: the result is already at its destination.
class SequenceExchange {
 public:
  virtual ~SequenceExchange() = default;
  virtual const SequenceShape& shape() const = 0;

  /// The buffer for q, k and v of this part's tokens: [parts, local_tokens, 3, places, head_dim], where
  /// places are those of the chunk. The first axis is the part that owns the head.
  virtual at::Tensor qkv_buffer(int chunk) = 0;
  virtual void launch_qkv(int chunk) = 0;
  /// All tokens for this part's heads: [padded_tokens, 3, places, head_dim].
  virtual at::Tensor wait_qkv(int chunk) = 0;

  /// The buffer for the results of this part's heads for all tokens: [padded_tokens, places, head_dim].
  virtual at::Tensor attention_buffer(int chunk) = 0;
  virtual void launch_attention(int chunk) = 0;
  /// The results of all heads of this chunk for this part's tokens: [parts, local_tokens, places, head_dim].
  virtual at::Tensor wait_attention(int chunk) = 0;
};

}  // namespace wan::dit
