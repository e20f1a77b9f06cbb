#include "comm/mpi/mpi.h"

#include <fmt/ranges.h>
#include <mpi.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "comm/checked_communicator.h"
#include "comm/local.h"
#include "comm/mpi/group.h"
#include "comm/mpi/pending.h"
#include "core/check.h"

namespace wan::comm {
namespace {

float combine(float a, float b, ReduceOp op) {
  if (op == ReduceOp::sum) return a + b;
  if (std::isnan(a)) return a;
  return std::isnan(b) || a < b ? b : a;
}

std::int64_t combine(std::int64_t a, std::int64_t b, ReduceOp op) {
  if (op == ReduceOp::max) return std::max(a, b);
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}

/// values = gathered[0] op gathered[1] op ..., where gathered is [ranks][values.size()].
template <typename Value>
void combine_in_rank_order(std::span<const std::byte> gathered, std::span<Value> values, ReduceOp op) {
  if (values.empty()) return;
  std::memcpy(values.data(), gathered.data(), values.size_bytes());
  for (std::size_t at = values.size_bytes(); at < gathered.size(); at += values.size_bytes()) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      Value other{};
      std::memcpy(&other, gathered.data() + at + i * sizeof(Value), sizeof(Value));
      values[i] = combine(values[i], other, op);
    }
  }
}

class MpiCommunicator final : public CheckedCommunicator {
 public:
  explicit MpiCommunicator(std::shared_ptr<MpiGroup> group)
      : CheckedCommunicator(group->name(), group->rank(), group->size()), group_(std::move(group)) {}

  const MpiGroup& group() const { return *group_; }
  /// A barrier of the backend itself. It does not count as the caller's traffic.
  Ticket start_barrier() override;

 private:
  Ticket start_all_gather(std::span<const std::byte> send, std::span<std::byte> receive) override;
  Ticket start_all_to_all(std::span<const std::byte> send, std::span<std::byte> receive) override;
  Ticket start_all_reduce(const ReduceValues& values, ReduceOp op) override;
  Ticket start_broadcast(std::span<std::byte> bytes, int root) override;
  Ticket start_exchange(std::span<const PeerTransfer> transfers) override;

  std::unique_ptr<MpiPending> pending(Operation operation, std::size_t bytes) const {
    return std::make_unique<MpiPending>(group_, operation, bytes);
  }
  BlockType block_type(std::size_t bytes, std::size_t total_bytes) const {
    return {bytes, total_bytes, group_->options().largest_count};
  }

  std::shared_ptr<MpiGroup> group_;
};

Ticket MpiCommunicator::start_all_gather(std::span<const std::byte> send, std::span<std::byte> receive) {
  auto call = pending(Operation::all_gather, receive.size());
  const BlockType block = block_type(send.size(), receive.size());
  const void* from = is_own_slice(send, receive) ? MPI_IN_PLACE : send.data();
  call->check_started(MPI_Iallgather(from, block.count(), block.type(), receive.data(), block.count(),
                                     block.type(), group_->comm(), call->add_request()),
                      "MPI_Iallgather");
  return Ticket(std::move(call));
}

Ticket MpiCommunicator::start_all_to_all(std::span<const std::byte> send, std::span<std::byte> receive) {
  auto call = pending(Operation::all_to_all, receive.size());
  const BlockType block = block_type(send.size() / static_cast<std::size_t>(size()), send.size());
  call->check_started(MPI_Ialltoall(send.data(), block.count(), block.type(), receive.data(), block.count(),
                                    block.type(), group_->comm(), call->add_request()),
                      "MPI_Ialltoall");
  return Ticket(std::move(call));
}

Ticket MpiCommunicator::start_all_reduce(const ReduceValues& values, ReduceOp op) {
  const std::span<const std::byte> own = bytes_of(values);
  auto call = pending(Operation::all_reduce, own.size());
  const std::span<std::byte> gathered = call->set_scratch(
      own.size() * static_cast<std::size_t>(size()), [values, op](std::span<const std::byte> all) {
        std::visit([&](auto typed) { combine_in_rank_order(all, typed, op); }, values);
      });
  const BlockType block = block_type(own.size(), gathered.size());
  call->check_started(MPI_Iallgather(own.data(), block.count(), block.type(), gathered.data(), block.count(),
                                     block.type(), group_->comm(), call->add_request()),
                      "MPI_Iallgather");
  return Ticket(std::move(call));
}

Ticket MpiCommunicator::start_broadcast(std::span<std::byte> bytes, int root) {
  auto call = pending(Operation::broadcast, bytes.size());
  const BlockType block = block_type(bytes.size(), bytes.size());
  call->check_started(
      MPI_Ibcast(bytes.data(), block.count(), block.type(), root, group_->comm(), call->add_request()),
      "MPI_Ibcast");
  return Ticket(std::move(call));
}

// Empty messages are not sent. So a rank never waits for a message that its peer leaves out.
Ticket MpiCommunicator::start_exchange(std::span<const PeerTransfer> transfers) {
  auto call = pending(Operation::exchange, larger_direction_bytes(transfers));
  const int tag = group_->tag_of(call->number());
  for (const PeerTransfer& transfer : transfers) {
    const std::span<std::byte> to = transfer.receive;
    if (to.empty()) continue;
    const BlockType block = block_type(to.size(), to.size());
    MPI_Request* request = call->add_message({.peer = transfer.peer, .bytes = to.size(), .receive = true});
    call->check_started(
        MPI_Irecv(to.data(), block.count(), block.type(), transfer.peer, tag, group_->comm(), request),
        "MPI_Irecv");
  }
  for (const PeerTransfer& transfer : transfers) {
    const std::span<const std::byte> from = transfer.send;
    if (from.empty()) continue;
    const BlockType block = block_type(from.size(), from.size());
    MPI_Request* request = call->add_message({.peer = transfer.peer, .bytes = from.size(), .receive = false});
    call->check_started(
        MPI_Isend(from.data(), block.count(), block.type(), transfer.peer, tag, group_->comm(), request),
        "MPI_Isend");
  }
  return Ticket(std::move(call));
}

Ticket MpiCommunicator::start_barrier() {
  auto call = pending(Operation::barrier, 0);
  call->check_started(MPI_Ibarrier(group_->comm(), call->add_request()), "MPI_Ibarrier");
  return Ticket(std::move(call));
}

void check_members(const MpiGroup& parent, std::span<const int> members, const std::string& name) {
  std::vector<int> sorted(members.begin(), members.end());
  std::ranges::sort(sorted);
  WAN_CHECK(std::ranges::adjacent_find(sorted) == sorted.end(), "group '{}' names a rank twice: {}", name,
            fmt::join(members, ", "));
  WAN_CHECK(std::ranges::binary_search(sorted, parent.rank()),
            "group '{}' of ranks {} does not contain its caller, {}", name, fmt::join(members, ", "),
            parent.describe_rank());
  WAN_CHECK(sorted.front() >= 0 && sorted.back() < parent.size(),
            "group '{}' of ranks {} does not lie within '{}' of {} ranks", name, fmt::join(members, ", "),
            parent.name(), parent.size());
}

}  // namespace

std::unique_ptr<Communicator> make_mpi_world(const MpiRanks& ranks, const MpiOptions& options) {
  if (!ranks.uses_mpi()) return make_local("world");
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(ranks.comm(), &comm), "MPI_Comm_dup", "for group 'world'");
  return std::make_unique<MpiCommunicator>(std::make_shared<MpiGroup>(CommHandle(comm), "world", options));
}

std::unique_ptr<Communicator> make_mpi_group(Communicator& parent, std::span<const int> members,
                                             std::string name, const MpiOptions& options) {
  auto* mpi_parent = dynamic_cast<MpiCommunicator*>(&parent);
  WAN_CHECK(mpi_parent != nullptr, "group '{}' is made from '{}', which is not an MPI communicator", name,
            parent.name());
  const MpiGroup& group = mpi_parent->group();
  check_members(group, members, name);
  // This barrier times out. MPI_Comm_split would wait for ever for a rank that does not come.
  mpi_parent->start_barrier().wait();

  const int color = *std::ranges::min_element(members);
  const auto key = static_cast<int>(std::ranges::find(members, group.rank()) - members.begin());
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(group.comm(), color, key, &comm), "MPI_Comm_split",
            fmt::format("for group '{}' on {}", name, group.describe_rank()));
  auto made = std::make_shared<MpiGroup>(CommHandle(comm), std::move(name), options);

  std::vector<int> wanted(members.size());
  std::ranges::transform(members, wanted.begin(),
                         [&](int member) { return group.world_ranks()[static_cast<std::size_t>(member)]; });
  if (made->world_ranks() != wanted) {
    fail(
        "{}: the ranks disagree about the members: this rank names world ranks {}, all ranks together name "
        "{}",
        made->describe_rank(), fmt::join(wanted, ", "), fmt::join(made->world_ranks(), ", "));
  }
  return std::make_unique<MpiCommunicator>(std::move(made));
}

}  // namespace wan::comm
