#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace wan::comm {

/// A collective in progress. Move-only. When wait() returns, the receive buffer holds its data and the send
/// buffer may be reused. Until then the caller must not read or write either buffer.
///
/// Destroying a ticket without wait() ends the program: this rank would forget a collective that the others
/// still wait in. While an exception unwinds, the ticket drops the collective without waiting instead. The
/// transfer may then still run, so the group is unusable: every later call on it throws Error.
class Ticket {
 public:
  /// A backend's side of a collective in progress.
  class Pending {
   public:
    virtual ~Pending() = default;
    virtual void wait() = 0;
    /// See Ticket. A backend that has no time limit, or whose limit a watchdog checks, just waits.
    virtual void wait_without_limit(const std::function<void()>& /*meanwhile*/) { wait(); }
    /// Operation, number and group, for the message about a forgotten ticket.
    virtual std::string describe() const { return "a collective"; }
  };

  Ticket() = default;  ///< for a collective that is already complete
  explicit Ticket(std::unique_ptr<Pending> pending) : pending_(std::move(pending)) {}
  Ticket(Ticket&&) noexcept = default;
  Ticket& operator=(Ticket&&) noexcept;
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;
  ~Ticket();

  /// Returns at once if the collective is complete. Throws Error if it fails or times out.
  void wait();
  /// The same without the group's timeout. Use it where another rank takes an unlimited time: it reads or
  /// writes files, or gives an order. That other rank calls wait(). `meanwhile`, if given, is called now and
  /// then. It may throw only to end the program.
  void wait_without_limit(const std::function<void()>& meanwhile = {});

 private:
  /// Ends the program, or drops the collective while an exception unwinds.
  void drop() noexcept;

  std::unique_ptr<Pending> pending_;
};

enum class ReduceOp { sum, max };
enum class Operation { all_gather, all_to_all, all_reduce, broadcast, exchange, barrier };
inline constexpr std::size_t operation_count = 6;
std::string_view to_string(Operation operation);

/// Calls, and bytes sent to other ranks, for each operation. A rank's own part of a buffer does not count.
/// All backends count alike, by the meaning of the call, for n ranks: all_gather (n-1) * send, all_to_all
/// (n-1) * block, all_reduce (n-1) * values, broadcast (n-1) * bytes on the root and 0 elsewhere, exchange
/// the sends to other ranks, barrier 0.
struct Traffic {
  std::array<std::uint64_t, operation_count> calls{};
  std::array<std::uint64_t, operation_count> sent_bytes{};
  std::uint64_t total_sent_bytes() const;
};

/// One message of exchange(). Either buffer may be empty.
struct PeerTransfer {
  int peer = 0;
  std::span<const std::byte> send;
  std::span<std::byte> receive;
};

/// A group of ranks and its collectives. All ranks call the same collectives in the same order from one host
/// thread. Buffers are plain memory (host memory here, device memory for the GPU backend). The caller owns
/// them and keeps them until the ticket's wait() returns.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// The group's purpose: "world", "cfg", "ulysses", "fsdp", "vae". Every error names it.
  virtual const std::string& name() const = 0;

  /// `receive` is [size][send.size()]: every rank's `send`, in rank order. `send` may be this rank's slice of
  /// `receive`.
  virtual Ticket all_gather(std::span<const std::byte> send, std::span<std::byte> receive) = 0;
  /// Both are [size][block]. Block p of `send` goes to rank p; block p of `receive` comes from rank p.
  virtual Ticket all_to_all(std::span<const std::byte> send, std::span<std::byte> receive) = 0;
  /// Reduces in place, element by element over the ranks. Every rank gets the same bits. Integer sums wrap
  /// around. The maximum of floats is NaN where any rank has NaN.
  virtual Ticket all_reduce(std::span<float> values, ReduceOp op) = 0;
  virtual Ticket all_reduce(std::span<std::int64_t> values, ReduceOp op) = 0;
  virtual Ticket broadcast(std::span<std::byte> bytes, int root) = 0;
  /// Sends and receives messages between named ranks, all at the same time. Both ranks of a pair must name
  /// each other, with equal sizes. Several messages between one pair match in the given order. A rank without
  /// transfers still makes the call.
  virtual Ticket exchange(std::span<const PeerTransfer> transfers) = 0;
  virtual Ticket barrier() = 0;

  virtual const Traffic& traffic() const = 0;

  /// Memory for send and receive buffers that this backend moves faster than other memory. Null if plain
  /// memory is as fast. Collective: all ranks request the same sizes in the same order and place their
  /// buffers at the same offsets. They release the memory in the same order, while no call uses it. Throws
  /// Error.
  virtual std::shared_ptr<std::byte> allocate(std::size_t /*bytes*/) { return nullptr; }
};

}  // namespace wan::comm
