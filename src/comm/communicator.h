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

/// A collective under way. Move-only; wait() returns when the receive buffer holds its data and the send
/// buffer may be reused. Until then neither buffer may be read or written. Destroying a ticket that was not
/// waited for ends the program: it would leave the other ranks in a collective that this one has forgotten.
/// While an exception unwinds it is let go instead, without waiting; its group is then unusable (every later
/// call on it throws Error), for the transfer may still be under way.
class Ticket {
 public:
  /// What a backend knows of a collective under way.
  class Pending {
   public:
    virtual ~Pending() = default;
    virtual void wait() = 0;
    /// See Ticket. A backend without a limit of its own, or whose limit is watched elsewhere, just waits.
    virtual void wait_without_limit(const std::function<void()>& /*meanwhile*/) { wait(); }
    /// For the message when the ticket is forgotten: operation, number, group.
    virtual std::string describe() const { return "a collective"; }
  };

  Ticket() = default;  ///< of a collective that is already complete
  explicit Ticket(std::unique_ptr<Pending> pending) : pending_(std::move(pending)) {}
  Ticket(Ticket&&) noexcept = default;
  Ticket& operator=(Ticket&&) noexcept;
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;
  ~Ticket();

  /// Returns at once if there is nothing left to wait for. Throws Error if the collective fails or times out.
  void wait();
  /// The same without the group's timeout, for a rank that waits for what cannot be timed: that another one
  /// reads or writes files, or gives an order. The rank that is waited for calls wait(). `meanwhile`, if
  /// given, is called now and then; it may throw only to end the program.
  void wait_without_limit(const std::function<void()>& meanwhile = {});

 private:
  /// Ends the program, or lets the collective go while an exception unwinds.
  void drop() noexcept;

  std::unique_ptr<Pending> pending_;
};

enum class ReduceOp { sum, max };
enum class Operation { all_gather, all_to_all, all_reduce, broadcast, exchange, barrier };
inline constexpr std::size_t operation_count = 6;
std::string_view to_string(Operation operation);

/// Calls and bytes handed to other ranks, by operation. A rank's own part of a buffer does not count.
/// Counted by what the call means, alike in every backend, for n ranks: all_gather (n-1) * send,
/// all_to_all (n-1) * block, all_reduce (n-1) * values, broadcast (n-1) * bytes on the root and 0 elsewhere,
/// exchange the sends to other ranks, barrier 0.
struct Traffic {
  std::array<std::uint64_t, operation_count> calls{};
  std::array<std::uint64_t, operation_count> sent_bytes{};
  std::uint64_t total_sent_bytes() const;
};

/// One message of exchange(): either buffer may be empty.
struct PeerTransfer {
  int peer = 0;
  std::span<const std::byte> send;
  std::span<std::byte> receive;
};

/// A group of ranks and the collectives over it. All ranks call the same collectives in the same order from
/// one host thread. Buffers are plain memory (host memory here; device memory for the GPU backend), owned by
/// the caller until the ticket's wait().
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// What the group is for: "world", "cfg", "ulysses", "fsdp", "vae". Named in every error.
  virtual const std::string& name() const = 0;

  /// `receive` is [size][send.size()]: every rank's `send`, in rank order. `send` may be its own slice of
  /// `receive`.
  virtual Ticket all_gather(std::span<const std::byte> send, std::span<std::byte> receive) = 0;
  /// Both are [size][block]: block p of `send` goes to rank p, block p of `receive` came from rank p.
  virtual Ticket all_to_all(std::span<const std::byte> send, std::span<std::byte> receive) = 0;
  /// In place, element by element over the ranks; every rank gets bitwise the same result. Integer sums
  /// wrap around; the maximum of floats is NaN where any rank has NaN.
  virtual Ticket all_reduce(std::span<float> values, ReduceOp op) = 0;
  virtual Ticket all_reduce(std::span<std::int64_t> values, ReduceOp op) = 0;
  virtual Ticket broadcast(std::span<std::byte> bytes, int root) = 0;
  /// Point-to-point messages with named peers, all under way at once. Peers must name each other with
  /// matching sizes; several with one peer match in the order given; a rank with no transfers still calls
  /// it.
  virtual Ticket exchange(std::span<const PeerTransfer> transfers) = 0;
  virtual Ticket barrier() = 0;

  virtual const Traffic& traffic() const = 0;

  /// Memory for send and receive buffers that this backend moves faster than any other, or null where plain
  /// memory is as good. Collective: all ranks ask for the same sizes in the same order, put their buffers at
  /// the same places in it, and let go of it alike, while no call uses it. Throws Error.
  virtual std::shared_ptr<std::byte> allocate(std::size_t /*bytes*/) { return nullptr; }
};

}  // namespace wan::comm
