#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace wan::dit {

/// How a sequence and its heads are divided over the parts of an exchange (spec 8.2). Part p owns the tokens
/// [p * local_tokens, (p + 1) * local_tokens) and attends with the heads [p * heads_per_part, (p + 1) *
/// heads_per_part).
struct SequenceShape {
  int parts = 1;
  int part = 0;
  std::int64_t tokens = 0;        ///< of the video
  std::int64_t local_tokens = 0;  ///< ceil(tokens / parts); the last part ends in padding
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  int head_chunks = 1;  ///< the heads of a part travel in this many exchanges

  std::int64_t padded_tokens() const { return parts * local_tokens; }
  std::int64_t first_token() const { return part * local_tokens; }
  std::int64_t heads_per_part() const { return heads / parts; }
  std::int64_t heads_per_chunk() const { return heads_per_part() / head_chunks; }
};

/// The port through which attention sees the whole sequence while every rank holds only its tokens. Per chunk
/// of heads: fill qkv_buffer, launch_qkv, wait_qkv; attend; fill attention_buffer, launch_attention,
/// wait_attention. Everything between a launch and its wait may compute, but not touch that chunk's buffers.
/// With one part both ways are the identity, and with one chunk besides there is no attention_buffer: the
/// result is where it is wanted.
class SequenceExchange {
 public:
  virtual ~SequenceExchange() = default;
  virtual const SequenceShape& shape() const = 0;

  /// Where own tokens' q, k and v go: [parts, local_tokens, 3, heads_per_chunk, head_dim], the first axis
  /// being the part that owns the head.
  virtual at::Tensor qkv_buffer(int chunk) = 0;
  virtual void launch_qkv(int chunk) = 0;
  /// All tokens for own heads: [padded_tokens, 3, heads_per_chunk, head_dim].
  virtual at::Tensor wait_qkv(int chunk) = 0;

  /// Where own heads' results for all tokens go: [padded_tokens, heads_per_chunk, head_dim].
  virtual at::Tensor attention_buffer(int chunk) = 0;
  virtual void launch_attention(int chunk) = 0;
  /// Own tokens' results of all heads of this chunk: [parts, local_tokens, heads_per_chunk, head_dim].
  virtual at::Tensor wait_attention(int chunk) = 0;
};

}  // namespace wan::dit
