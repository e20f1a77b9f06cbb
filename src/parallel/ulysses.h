#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "comm/communicator.h"
#include "dit/sequence_exchange.h"
#include "kernels/compute.h"
#include "parallel/exchange_memory.h"

namespace wan::parallel {

/// Ulysses sequence parallelism (model.md 8.2) over a communicator. One all-to-all carries q, k and v of a
/// chunk of heads, another the results. All buffers are reserved at construction. With one rank, nothing is
/// sent or copied.
class UlyssesExchange final : public dit::SequenceExchange {
 public:
  /// `chunk_heads`: heads in each exchange, as in dit::SequenceShape; empty: all in one. There are at least
  /// as many heads as ranks. Collective over the group. Throws Error if the chunks do not add up.
  ///
  /// If the ranks do not divide the heads, the first ranks have one head more than the others. All blocks of
  /// an exchange have the size for that many heads, so that it stays an all-to-all, which copy engines move.
  /// The empty places cost no time: the ranks with the most heads receive as much in any case.
  UlyssesExchange(comm::Communicator& group, std::int64_t tokens, std::int64_t heads, std::int64_t head_dim,
                  const kernels::Compute& compute, std::vector<std::int64_t> chunk_heads = {});

  const dit::SequenceShape& shape() const override { return shape_; }
  at::Tensor qkv_buffer(int chunk) override;
  void launch_qkv(int chunk) override;
  at::Tensor wait_qkv(int chunk) override;
  at::Tensor attention_buffer(int chunk) override;
  void launch_attention(int chunk) override;
  at::Tensor wait_attention(int chunk) override;

 private:
  struct Way {
    at::Tensor send;
    at::Tensor receive;  ///< the same memory as send if there is one rank
    comm::Ticket ticket;
  };
  std::vector<std::int64_t> shape_of_way(int chunk, std::int64_t tensors) const;
  Way make_way(int chunk, std::int64_t tensors, ExchangeMemory& memory) const;
  void launch(Way& way);

  comm::Communicator& group_;
  dit::SequenceShape shape_;
  std::vector<Way> qkv_;        ///< for each chunk, [parts, local_tokens, 3, places, head_dim]
  std::vector<Way> attention_;  ///< for each chunk, [parts, local_tokens, places, head_dim]
};

}  // namespace wan::parallel
