#include "comm/deferred.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <vector>

#include "comm/checked_communicator.h"
#include "core/check.h"

namespace wan::comm {
namespace {

constexpr std::byte spoiled{0xFF};

void spoil(std::span<std::byte> bytes) { std::ranges::fill(bytes, spoiled); }

/// Calls that were issued but not yet carried out.
class CallQueue {
 public:
  using Call = std::function<Ticket(Communicator&)>;

  explicit CallQueue(std::unique_ptr<Communicator> inner) : inner_(std::move(inner)) {}

  std::uint64_t push(Call call) {
    check_usable();
    calls_.push_back(std::move(call));
    return first_number_ + calls_.size() - 1;
  }

  /// Carries out every call up to `number`, `number` included.
  void carry_out(std::uint64_t number) {
    carry_out(number, [](Ticket ticket) { ticket.wait(); });
  }

  /// The same; calls `wait` for each ticket.
  void carry_out(std::uint64_t number, const std::function<void(Ticket)>& wait) {
    check_usable();
    while (first_number_ <= number) {
      const Call call = std::move(calls_.front());
      calls_.pop_front();
      ++first_number_;
      broken_ = true;  // stays true if the next line throws
      wait(call(*inner_));
      broken_ = false;
    }
  }

  /// Called for a ticket that an exception destroyed.
  void abandon(std::uint64_t number) { broken_ = broken_ || first_number_ <= number; }

  const Communicator& inner() const { return *inner_; }

 private:
  void check_usable() const {
    if (broken_) {
      fail(
          "group '{}', rank {}: a collective failed or was left unfinished by an error; the group can no "
          "longer be used",
          inner_->name(), inner_->rank());
    }
  }

  std::unique_ptr<Communicator> inner_;
  std::deque<Call> calls_;
  std::uint64_t first_number_ = 0;  ///< number of calls_.front()
  bool broken_ = false;
};

class DeferredPending final : public Ticket::Pending {
 public:
  DeferredPending(std::shared_ptr<CallQueue> queue, std::uint64_t number, Operation operation)
      : queue_(std::move(queue)), number_(number), operation_(operation) {}
  DeferredPending(const DeferredPending&) = delete;
  DeferredPending& operator=(const DeferredPending&) = delete;
  DeferredPending(DeferredPending&&) = delete;
  DeferredPending& operator=(DeferredPending&&) = delete;
  ~DeferredPending() override { queue_->abandon(number_); }

  void wait() override { queue_->carry_out(number_); }
  void wait_without_limit(const std::function<void()>& meanwhile) override {
    queue_->carry_out(number_, [&](Ticket ticket) { ticket.wait_without_limit(meanwhile); });
  }
  std::string describe() const override {
    return fmt::format("deferred {} number {} in group '{}'", to_string(operation_), number_,
                       queue_->inner().name());
  }

 private:
  std::shared_ptr<CallQueue> queue_;
  std::uint64_t number_;
  Operation operation_;
};

/// Restores the saved elements where the caller has not overwritten the 0xFF bytes.
template <typename Value>
void restore_untouched(std::span<Value> values, std::span<const Value> saved) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto bytes = std::as_bytes(values.subspan(i, 1));
    const bool untouched = std::ranges::all_of(bytes, [](std::byte b) { return b == spoiled; });
    if (untouched) values[i] = saved[i];
  }
}

class DeferredCommunicator final : public CheckedCommunicator {
 public:
  explicit DeferredCommunicator(std::unique_ptr<Communicator> inner)
      : CheckedCommunicator(inner->name(), inner->rank(), inner->size()),
        queue_(std::make_shared<CallQueue>(std::move(inner))) {}

 private:
  Ticket start_all_gather(std::span<const std::byte> send, std::span<std::byte> receive) override {
    if (is_own_slice(send, receive)) {
      const std::size_t before = static_cast<std::size_t>(rank()) * send.size();
      spoil(receive.first(before));
      spoil(receive.subspan(before + send.size()));
    } else {
      spoil(receive);
    }
    return defer(Operation::all_gather,
                 [send, receive](Communicator& inner) { return inner.all_gather(send, receive); });
  }

  Ticket start_all_to_all(std::span<const std::byte> send, std::span<std::byte> receive) override {
    spoil(receive);
    return defer(Operation::all_to_all,
                 [send, receive](Communicator& inner) { return inner.all_to_all(send, receive); });
  }

  Ticket start_all_reduce(const ReduceValues& values, ReduceOp op) override {
    return std::visit([&](auto typed) { return defer_all_reduce(typed, op); }, values);
  }

  template <typename Value>
  Ticket defer_all_reduce(std::span<Value> values, ReduceOp op) {
    const std::vector<Value> saved(values.begin(), values.end());
    spoil(std::as_writable_bytes(values));
    return defer(Operation::all_reduce, [values, saved, op](Communicator& inner) {
      restore_untouched(values, std::span<const Value>(saved));
      return inner.all_reduce(values, op);
    });
  }

  Ticket start_broadcast(std::span<std::byte> bytes, int root) override {
    if (rank() != root) spoil(bytes);
    return defer(Operation::broadcast,
                 [bytes, root](Communicator& inner) { return inner.broadcast(bytes, root); });
  }

  Ticket start_exchange(std::span<const PeerTransfer> transfers) override {
    const std::vector<PeerTransfer> kept(transfers.begin(), transfers.end());
    for (const PeerTransfer& transfer : kept) spoil(transfer.receive);
    return defer(Operation::exchange, [kept](Communicator& inner) { return inner.exchange(kept); });
  }

  Ticket start_barrier() override {
    return defer(Operation::barrier, [](Communicator& inner) { return inner.barrier(); });
  }

  Ticket defer(Operation operation, CallQueue::Call call) {
    const std::uint64_t number = queue_->push(std::move(call));
    return Ticket(std::make_unique<DeferredPending>(queue_, number, operation));
  }

  std::shared_ptr<CallQueue> queue_;
};

}  // namespace

std::unique_ptr<Communicator> make_deferred(std::unique_ptr<Communicator> inner) {
  WAN_CHECK(inner != nullptr, "a deferred communicator needs a communicator to wrap");
  return std::make_unique<DeferredCommunicator>(std::move(inner));
}

}  // namespace wan::comm
