#pragma once

#include <variant>

#include "comm/communicator.h"

namespace wan::comm {

/// The elements of an all_reduce.
using ReduceValues = std::variant<std::span<float>, std::span<std::int64_t>>;

/// The values' memory.
std::span<std::byte> bytes_of(const ReduceValues& values);

/// What every backend has in common: checks arguments and counts traffic, then calls the backend's start_*().
/// A wrong argument is a bug of the caller and throws Error with group, rank and operation.
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

  /// `send` may be its own slice of `receive`: see is_own_slice().
  virtual Ticket start_all_gather(std::span<const std::byte> send, std::span<std::byte> receive) = 0;
  virtual Ticket start_all_to_all(std::span<const std::byte> send, std::span<std::byte> receive) = 0;
  virtual Ticket start_all_reduce(const ReduceValues& values, ReduceOp op) = 0;
  virtual Ticket start_broadcast(std::span<std::byte> bytes, int root) = 0;
  virtual Ticket start_exchange(std::span<const PeerTransfer> transfers) = 0;
  virtual Ticket start_barrier() = 0;

  /// Whether an all_gather is in place.
  bool is_own_slice(std::span<const std::byte> send, std::span<const std::byte> receive) const;

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
