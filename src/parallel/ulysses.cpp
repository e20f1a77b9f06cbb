#include "parallel/ulysses.h"

#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/check.h"
#include "parallel/tensor_bytes.h"

namespace wan::parallel {

UlyssesExchange::UlyssesExchange(comm::Communicator& group, std::int64_t tokens, std::int64_t heads,
                                 std::int64_t head_dim, const kernels::Compute& compute,
                                 std::vector<std::int64_t> chunk_heads)
    : group_(group),
      shape_{.parts = group.size(),
             .part = group.rank(),
             .tokens = tokens,
             .local_tokens = (tokens + group.size() - 1) / group.size(),
             .heads = heads,
             .head_dim = head_dim,
             .chunk_heads = std::move(chunk_heads)} {
  std::vector<std::int64_t>& chunks = shape_.chunk_heads;
  if (chunks.empty()) chunks = {shape_.division().per_part()};
  const bool has_places =
      std::accumulate(chunks.begin(), chunks.end(), std::int64_t{0}) == shape_.division().per_part() &&
      (shape_.division().is_even() || *std::ranges::max_element(chunks) > 1);
  WAN_CHECK(heads >= shape_.parts && *std::ranges::min_element(chunks) > 0 && has_places,
            "{} heads over {} ranks in chunks of {}", heads, shape_.parts, fmt::join(chunks, " + "));
  constexpr std::int64_t qkv = 3;
  constexpr std::int64_t result = 1;
  // With one rank and one chunk, attention writes its result directly to its destination.
  const bool has_way_back = !shape_.is_undivided();
  const std::size_t buffers = shape_.parts > 1 ? 2 : 1;  // one to send and one to receive, or one for both
  std::vector<std::int64_t> elements;
  for (int chunk = 0; chunk < shape_.chunks(); ++chunk) {
    elements.insert(elements.end(), buffers, c10::multiply_integers(shape_of_way(chunk, qkv)));
    if (has_way_back)
      elements.insert(elements.end(), buffers, c10::multiply_integers(shape_of_way(chunk, result)));
  }
  ExchangeMemory memory(group, elements, compute);
  for (int chunk = 0; chunk < shape_.chunks(); ++chunk) {
    qkv_.push_back(make_way(chunk, qkv, memory));
    if (has_way_back) attention_.push_back(make_way(chunk, result, memory));
  }
}

std::vector<std::int64_t> UlyssesExchange::shape_of_way(int chunk, std::int64_t tensors) const {
  return {shape_.parts, shape_.local_tokens, tensors, shape_.places_of(chunk), shape_.head_dim};
}

UlyssesExchange::Way UlyssesExchange::make_way(int chunk, std::int64_t tensors,
                                               ExchangeMemory& memory) const {
  const std::vector<std::int64_t> shape = shape_of_way(chunk, tensors);
  const at::Tensor send = memory.take(shape);
  return {.send = send, .receive = shape_.parts == 1 ? send : memory.take(shape), .ticket = {}};
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
      0, 1);  // [parts, local_tokens, ...] is [padded_tokens, 3, places, head_dim] in order
}

at::Tensor UlyssesExchange::attention_buffer(int chunk) {
  return attention_.at(static_cast<std::size_t>(chunk)).send.squeeze(2).flatten(0, 1);  // [padded_tokens,
                                                                                        // places, head_dim]
}

void UlyssesExchange::launch_attention(int chunk) { launch(attention_.at(static_cast<std::size_t>(chunk))); }

at::Tensor UlyssesExchange::wait_attention(int chunk) {
  Way& way = attention_.at(static_cast<std::size_t>(chunk));
  way.ticket.wait();
  return way.receive.squeeze(2);  // [parts, local_tokens, places, head_dim]
}

}  // namespace wan::parallel
