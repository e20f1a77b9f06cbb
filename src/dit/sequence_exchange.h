#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace wan::dit {

/// How a sequence and its heads are divided over the parts of an exchange (model.md 8.2). Part p owns the
/// tokens [p * local_tokens, (p + 1) * local_tokens) and computes attention for the heads [p *
/// heads_per_part, (p + 1) * heads_per_part).
struct SequenceShape {
  int parts = 1;
  int part = 0;
  std::int64_t tokens = 0;        ///< tokens of the video
  std::int64_t local_tokens = 0;  ///< ceil(tokens / parts); the last part ends in padding
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  /// A part's heads in each exchange, in the order of the exchanges. Their sum is heads_per_part().
  std::vector<std::int64_t> chunk_heads;

  std::int64_t padded_tokens() const { return parts * local_tokens; }
  std::int64_t first_token() const { return part * local_tokens; }
  std::int64_t heads_per_part() const { return heads / parts; }
  int chunks() const { return static_cast<int>(chunk_heads.size()); }
  std::int64_t heads_of(int chunk) const { return chunk_heads.at(static_cast<std::size_t>(chunk)); }
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

  /// The buffer for q, k and v of this part's tokens: [parts, local_tokens, 3, chunk_heads, head_dim]. The
  /// first axis is the part that owns the head.
  virtual at::Tensor qkv_buffer(int chunk) = 0;
  virtual void launch_qkv(int chunk) = 0;
  /// All tokens for this part's heads: [padded_tokens, 3, chunk_heads, head_dim].
  virtual at::Tensor wait_qkv(int chunk) = 0;

  /// The buffer for the results of this part's heads for all tokens: [padded_tokens, chunk_heads, head_dim].
  virtual at::Tensor attention_buffer(int chunk) = 0;
  virtual void launch_attention(int chunk) = 0;
  /// The results of all heads of this chunk for this part's tokens: [parts, local_tokens, chunk_heads,
  /// head_dim].
  virtual at::Tensor wait_attention(int chunk) = 0;
};

}  // namespace wan::dit
