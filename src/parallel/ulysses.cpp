#include "parallel/ulysses.h"

#include <ATen/ATen.h>

#include "core/check.h"
#include "parallel/tensor_bytes.h"

namespace wan::parallel {

UlyssesExchange::UlyssesExchange(comm::Communicator& group, std::int64_t tokens, std::int64_t heads,
                                 std::int64_t head_dim, const kernels::Compute& compute, int head_chunks)
    : group_(group),
      shape_{.parts = group.size(),
             .part = group.rank(),
             .tokens = tokens,
             .local_tokens = (tokens + group.size() - 1) / group.size(),
             .heads = heads,
             .head_dim = head_dim,
             .head_chunks = head_chunks} {
  WAN_CHECK(heads % (std::int64_t{group.size()} * head_chunks) == 0, "{} heads over {} ranks in {} chunks",
            heads, group.size(), head_chunks);
  constexpr std::int64_t qkv = 3;
  constexpr std::int64_t result = 1;
  // Alone and undivided, attention's result is where it is wanted.
  const bool has_way_back = shape_.parts > 1 || head_chunks > 1;
  const int buffers = shape_.parts > 1 ? 2 : 1;  // sent and received, or one for both
  std::vector<std::int64_t> elements;
  for (int buffer = 0; buffer < buffers * head_chunks; ++buffer) {
    elements.push_back(c10::multiply_integers(shape_of_way(qkv)));
    if (has_way_back) elements.push_back(c10::multiply_integers(shape_of_way(result)));
  }
  ExchangeMemory memory(group, elements, compute);
  for (int chunk = 0; chunk < head_chunks; ++chunk) {
    qkv_.push_back(make_way(qkv, memory));
    if (has_way_back) attention_.push_back(make_way(result, memory));
  }
}

std::vector<std::int64_t> UlyssesExchange::shape_of_way(std::int64_t tensors) const {
  return {shape_.parts, shape_.local_tokens, tensors, shape_.heads_per_chunk(), shape_.head_dim};
}

UlyssesExchange::Way UlyssesExchange::make_way(std::int64_t tensors, ExchangeMemory& memory) const {
  const at::Tensor send = memory.take(shape_of_way(tensors));
  return {
      .send = send, .receive = shape_.parts == 1 ? send : memory.take(shape_of_way(tensors)), .ticket = {}};
}

void UlyssesExchange::launch(Way& way) {
  if (shape_.parts > 1) way.ticket = group_.all_to_all(bytes_of(way.send), writable_bytes_of(way.receive));
}

at::Tensor UlyssesExchange::qkv_buffer(int chunk) { return qkv_.at(static_cast<std::size_t>(chunk)).send; }

void UlyssesExchange::launch_qkv(int chunk) { launch(qkv_.at(static_cast<std::size_t>(chunk))); }

at::Tensor UlyssesExchange::wait_qkv(int chunk) {
  Way& way = qkv_.at(static_cast<std::size_t>(chunk));
  way.ticket.wait();
  return way.receive.flatten(
      0, 1);  // [parts, local_tokens, ...] is [padded_tokens, 3, heads_per_chunk, head_dim] in order
}

at::Tensor UlyssesExchange::attention_buffer(int chunk) {
  return attention_.at(static_cast<std::size_t>(chunk))
      .send.squeeze(2)
      .flatten(0, 1);  // [padded_tokens, heads_per_chunk, head_dim]
}

void UlyssesExchange::launch_attention(int chunk) { launch(attention_.at(static_cast<std::size_t>(chunk))); }

at::Tensor UlyssesExchange::wait_attention(int chunk) {
  Way& way = attention_.at(static_cast<std::size_t>(chunk));
  way.ticket.wait();
  return way.receive.squeeze(2);  // [parts, local_tokens, heads_per_chunk, head_dim]
}

}  // namespace wan::parallel
