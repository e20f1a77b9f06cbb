#include "comm/checked_communicator.h"

#include <algorithm>
#include <functional>

#include "core/check.h"

namespace wan::comm {
namespace {

bool overlap(std::span<const std::byte> a, std::span<const std::byte> b) {
  if (a.empty() || b.empty()) return false;
  const std::less<> before;  // std::less orders pointers into different buffers, too
  return before(a.data(), b.data() + b.size()) && before(b.data(), a.data() + a.size());
}

}  // namespace

std::span<std::byte> bytes_of(const ReduceValues& values) {
  return std::visit([](const auto& typed) { return std::as_writable_bytes(typed); }, values);
}

std::size_t larger_direction_bytes(std::span<const PeerTransfer> transfers) {
  std::size_t sent_bytes = 0;
  std::size_t received_bytes = 0;
  for (const PeerTransfer& transfer : transfers) {
    sent_bytes += transfer.send.size();
    received_bytes += transfer.receive.size();
  }
  return std::max(sent_bytes, received_bytes);
}

CheckedCommunicator::CheckedCommunicator(std::string name, int rank, int size)
    : name_(std::move(name)), rank_(rank), size_(size) {
  WAN_CHECK(size >= 1 && rank >= 0 && rank < size, "group '{}': rank {} of {}", name_, rank, size);
}

std::string CheckedCommunicator::where(Operation operation) const {
  return fmt::format("{} in group '{}', rank {} of {}", to_string(operation), name_, rank_, size_);
}

void CheckedCommunicator::count(Operation operation, std::uint64_t sent_bytes) {
  const auto index = static_cast<std::size_t>(operation);
  traffic_.calls[index] += 1;
  traffic_.sent_bytes[index] += sent_bytes;
}

bool CheckedCommunicator::is_own_slice(std::span<const std::byte> send,
                                       std::span<const std::byte> receive) const {
  return !send.empty() && send.data() == receive.data() + static_cast<std::size_t>(rank_) * send.size();
}

Ticket CheckedCommunicator::all_gather(std::span<const std::byte> send, std::span<std::byte> receive) {
  const auto ranks = static_cast<std::size_t>(size_);
  WAN_CHECK(receive.size() % ranks == 0 && receive.size() / ranks == send.size(),
            "{}: sends {} bytes, so must receive {} times that, not {} bytes", where(Operation::all_gather),
            send.size(), size_, receive.size());
  WAN_CHECK(is_own_slice(send, receive) || !overlap(send, receive),
            "{}: the send buffer overlaps the receive buffer but is not this rank's slice of it",
            where(Operation::all_gather));
  count(Operation::all_gather, others() * send.size());
  return start_all_gather(send, receive);
}

Ticket CheckedCommunicator::all_to_all(std::span<const std::byte> send, std::span<std::byte> receive) {
  const auto ranks = static_cast<std::size_t>(size_);
  WAN_CHECK(send.size() == receive.size() && send.size() % ranks == 0,
            "{}: sends {} bytes and receives {}; both must be the same multiple of {}",
            where(Operation::all_to_all), send.size(), receive.size(), size_);
  WAN_CHECK(!overlap(send, receive), "{}: the buffers overlap", where(Operation::all_to_all));
  count(Operation::all_to_all, others() * (send.size() / ranks));
  return start_all_to_all(send, receive);
}

Ticket CheckedCommunicator::all_reduce(std::span<float> values, ReduceOp op) { return reduce(values, op); }

Ticket CheckedCommunicator::all_reduce(std::span<std::int64_t> values, ReduceOp op) {
  return reduce(values, op);
}

Ticket CheckedCommunicator::reduce(const ReduceValues& values, ReduceOp op) {
  count(Operation::all_reduce, others() * bytes_of(values).size());
  return start_all_reduce(values, op);
}

Ticket CheckedCommunicator::broadcast(std::span<std::byte> bytes, int root) {
  WAN_CHECK(root >= 0 && root < size_, "{}: there is no rank {} to be the root", where(Operation::broadcast),
            root);
  count(Operation::broadcast, rank_ == root ? others() * bytes.size() : 0);
  return start_broadcast(bytes, root);
}

Ticket CheckedCommunicator::exchange(std::span<const PeerTransfer> transfers) {
  std::uint64_t sent_bytes = 0;
  std::uint64_t self_sent_bytes = 0;
  std::uint64_t self_received_bytes = 0;
  for (const PeerTransfer& transfer : transfers) {
    WAN_CHECK(transfer.peer >= 0 && transfer.peer < size_, "{}: there is no rank {} to exchange with",
              where(Operation::exchange), transfer.peer);
    if (transfer.peer != rank_) {
      sent_bytes += transfer.send.size();
      continue;
    }
    self_sent_bytes += transfer.send.size();
    self_received_bytes += transfer.receive.size();
  }
  WAN_CHECK(self_sent_bytes == self_received_bytes, "{}: sends itself {} bytes but receives {}",
            where(Operation::exchange), self_sent_bytes, self_received_bytes);
  count(Operation::exchange, sent_bytes);
  return start_exchange(transfers);
}

std::vector<OwnMessage> CheckedCommunicator::own_messages(std::span<const PeerTransfer> transfers) const {
  std::vector<std::span<const std::byte>> sends;
  std::vector<std::span<std::byte>> receives;
  for (const PeerTransfer& transfer : transfers) {
    if (transfer.peer != rank_) continue;
    if (!transfer.send.empty()) sends.push_back(transfer.send);
    if (!transfer.receive.empty()) receives.push_back(transfer.receive);
  }
  WAN_CHECK(sends.size() == receives.size(), "{}: sends itself {} messages but receives {} from itself",
            where(Operation::exchange), sends.size(), receives.size());
  std::vector<OwnMessage> messages;
  for (std::size_t i = 0; i < sends.size(); ++i) {
    WAN_CHECK(sends[i].size() == receives[i].size(),
              "{}: message {} to itself has {} bytes, but its receive buffer has {}",
              where(Operation::exchange), i, sends[i].size(), receives[i].size());
    messages.push_back({.send = sends[i], .receive = receives[i]});
  }
  return messages;
}

Ticket CheckedCommunicator::barrier() {
  count(Operation::barrier, 0);
  return start_barrier();
}

}  // namespace wan::comm
