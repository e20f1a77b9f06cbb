#pragma once

#include <variant>
#include <vector>

#include "comm/communicator.h"

namespace wan::comm {

/// The elements of an all_reduce.
using ReduceValues = std::variant<std::span<float>, std::span<std::int64_t>>;

/// The memory of `values`.
std::span<std::byte> bytes_of(const ReduceValues& values);

/// A message that a rank sends to itself in an exchange. Both buffers have the same size.
struct OwnMessage {
  std::span<const std::byte> send;
  std::span<std::byte> receive;
};

/// Bytes sent or bytes received in an exchange, whichever is larger.
std::size_t larger_direction_bytes(std::span<const PeerTransfer> transfers);

/// The common part of all backends: checks arguments and counts traffic, then calls the backend's start_*().
/// A wrong argument is a bug of the caller. It throws Error with group, rank and operation.
class CheckedCommunicator : public Communicator {
 public:
  int rank() const final { return rank_; }
  int size() const final { return size_; }
  const std::string& name() const final { return name_; }

  Ticket all_gather(std::span<const std::byte> send, std::span<std::byte> receive) final;
  Ticket all_to_all(std::span<const std::byte> send, std::span<std::byte> receive) final;
  Ticket all_reduce(std::span<float> values, ReduceOp op) final;
  Ticket all_reduce(std::span<std::int64_t> values, ReduceOp op) final;
  Ticket broadcast(std::span<std::byte> bytes, int root) final;
  Ticket exchange(std::span<const PeerTransfer> transfers) final;
  Ticket barrier() final;

  const Traffic& traffic() const final { return traffic_; }

 protected:
  /// Throws Error unless 0 <= rank < size.
  CheckedCommunicator(std::string name, int rank, int size);

  /// `send` may be this rank's slice of `receive`: see is_own_slice().
  virtual Ticket start_all_gather(std::span<const std::byte> send, std::span<std::byte> receive) = 0;
  virtual Ticket start_all_to_all(std::span<const std::byte> send, std::span<std::byte> receive) = 0;
  virtual Ticket start_all_reduce(const ReduceValues& values, ReduceOp op) = 0;
  virtual Ticket start_broadcast(std::span<std::byte> bytes, int root) = 0;
  virtual Ticket start_exchange(std::span<const PeerTransfer> transfers) = 0;
  virtual Ticket start_barrier() = 0;

  /// Whether an all_gather is in place: `send` is this rank's slice of `receive`.
  bool is_own_slice(std::span<const std::byte> send, std::span<const std::byte> receive) const;
  /// The messages of an exchange that this rank sends to itself. The first one sent matches the first one
  /// received, and so on, as between two ranks. Throws Error if their numbers or sizes differ.
  std::vector<OwnMessage> own_messages(std::span<const PeerTransfer> transfers) const;

 private:
  Ticket reduce(const ReduceValues& values, ReduceOp op);
  void count(Operation operation, std::uint64_t sent_bytes);
  std::string where(Operation operation) const;
  std::uint64_t others() const { return static_cast<std::uint64_t>(size_) - 1; }

  std::string name_;
  int rank_;
  int size_;
  Traffic traffic_;
};

}  // namespace wan::comm
