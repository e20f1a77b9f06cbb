#include "comm/first_message.h"

#include <array>
#include <span>

namespace wan::comm {

std::optional<RankMessage> first_message(Communicator& group, const std::optional<std::string>& own) {
  // Ranks are numbered downwards, so that the maximum is the lowest rank that has a message.
  std::array<std::int64_t, 1> speaker{own ? group.size() - 1 - group.rank() : -1};
  group.all_reduce(speaker, ReduceOp::max).wait();
  if (speaker[0] < 0) return std::nullopt;
  const int root = group.size() - 1 - static_cast<int>(speaker[0]);
  const bool speaks = group.rank() == root;
  std::array<std::int64_t, 1> length{speaks ? static_cast<std::int64_t>(own->size()) : 0};
  group.broadcast(std::as_writable_bytes(std::span(length)), root).wait();
  std::string text = speaks ? *own : std::string(static_cast<std::size_t>(length[0]), '\0');
  group.broadcast(std::as_writable_bytes(std::span(text)), root).wait();
  return RankMessage{.rank = root, .text = std::move(text)};
}

}  // namespace wan::comm
