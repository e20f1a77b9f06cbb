#include "comm/nccl/nccl.h"

#include <mpi.h>
#include <nccl.h>

#include <random>
#include <vector>

#include "comm/checked_communicator.h"
#include "comm/mpi/mpi.h"
#include "comm/mpi/support.h"
#include "comm/nccl/group.h"
#include "comm/nccl/reduce.h"
#include "comm/nccl/window.h"
#include "core/check.h"

namespace wan::comm {
namespace {

class NcclCommunicator final : public CheckedCommunicator {
 public:
  explicit NcclCommunicator(std::shared_ptr<NcclGroup> group)
      : CheckedCommunicator(group->identity().name, group->identity().rank, group->identity().size()),
        group_(std::move(group)) {}

  std::shared_ptr<std::byte> allocate(std::size_t bytes) override;

 private:
  Ticket start_all_gather(std::span<const std::byte> send, std::span<std::byte> receive) override;
  Ticket start_all_to_all(std::span<const std::byte> send, std::span<std::byte> receive) override;
  Ticket start_all_reduce(const ReduceValues& values, ReduceOp op) override;
  Ticket start_broadcast(std::span<std::byte> bytes, int root) override;
  Ticket start_exchange(std::span<const PeerTransfer> transfers) override;
  Ticket start_barrier() override;

  void send_and_receive(const NcclCall& call, std::span<const PeerTransfer> transfers) const;

  std::shared_ptr<NcclGroup> group_;
};

std::shared_ptr<std::byte> NcclCommunicator::allocate(std::size_t bytes) {
  if (!group_->uses_copy_engines() || bytes == 0) return nullptr;
  return allocate_window(group_, bytes);
}

Ticket NcclCommunicator::start_all_gather(std::span<const std::byte> send, std::span<std::byte> receive) {
  NcclCall call(group_, Operation::all_gather, receive.size());
  if (!send.empty()) {
    call.check(
        ncclAllGather(send.data(), receive.data(), send.size(), ncclUint8, group_->comm(), group_->stream()),
        "ncclAllGather");
  }
  return call.finish();
}

Ticket NcclCommunicator::start_all_to_all(std::span<const std::byte> send, std::span<std::byte> receive) {
  NcclCall call(group_, Operation::all_to_all, receive.size());
  if (!send.empty()) {
    const std::size_t block_bytes = send.size() / static_cast<std::size_t>(size());
    call.check(
        ncclAlltoAll(send.data(), receive.data(), block_bytes, ncclUint8, group_->comm(), group_->stream()),
        "ncclAlltoAll");
  }
  return call.finish();
}

// NCCL's own sum uses another order in each algorithm, and the order may differ between the ranks'
// topologies.
Ticket NcclCommunicator::start_all_reduce(const ReduceValues& values, ReduceOp op) {
  const std::span<const std::byte> own = bytes_of(values);
  NcclCall call(group_, Operation::all_reduce, own.size());
  if (!own.empty()) {
    void* gathered = group_->scratch(own.size() * static_cast<std::size_t>(size()));  // [ranks, values]
    call.check(ncclAllGather(own.data(), gathered, own.size(), ncclUint8, group_->comm(), group_->stream()),
               "ncclAllGather");
    std::visit(
        [&]<typename Value>(std::span<Value> typed) {
          call.check(fold_in_rank_order(static_cast<const Value*>(gathered), typed.data(), typed.size(),
                                        size(), op, group_->stream()),
                     "the kernel that folds in rank order");
        },
        values);
  }
  return call.finish();
}

Ticket NcclCommunicator::start_broadcast(std::span<std::byte> bytes, int root) {
  NcclCall call(group_, Operation::broadcast, bytes.size());
  if (!bytes.empty()) {
    call.check(ncclBroadcast(bytes.data(), bytes.data(), bytes.size(), ncclUint8, root, group_->comm(),
                             group_->stream()),
               "ncclBroadcast");
  }
  return call.finish();
}

Ticket NcclCommunicator::start_exchange(std::span<const PeerTransfer> transfers) {
  NcclCall call(group_, Operation::exchange, larger_direction_bytes(transfers));
  for (const OwnMessage& message : own_messages(transfers)) {
    call.check(cudaMemcpyAsync(message.receive.data(), message.send.data(), message.send.size(),
                               cudaMemcpyDeviceToDevice, group_->stream()),
               "cudaMemcpyAsync");
  }
  send_and_receive(call, transfers);
  return call.finish();
}

void NcclCommunicator::send_and_receive(const NcclCall& call, std::span<const PeerTransfer> transfers) const {
  call.check(ncclGroupStart(), "ncclGroupStart");
  ncclResult_t queued = ncclSuccess;
  for (const PeerTransfer& transfer : transfers) {
    if (transfer.peer == rank()) continue;
    if (queued == ncclSuccess && !transfer.send.empty()) {
      queued = ncclSend(transfer.send.data(), transfer.send.size(), ncclUint8, transfer.peer, group_->comm(),
                        group_->stream());
    }
    if (queued == ncclSuccess && !transfer.receive.empty()) {
      queued = ncclRecv(transfer.receive.data(), transfer.receive.size(), ncclUint8, transfer.peer,
                        group_->comm(), group_->stream());
    }
  }
  // Always ends the NCCL group: it belongs to this thread and would swallow the thread's later calls.
  const ncclResult_t launched = ncclGroupEnd();
  call.check(queued, "ncclSend or ncclRecv");
  call.check(launched, "ncclGroupEnd");
}

Ticket NcclCommunicator::start_barrier() {
  NcclCall call(group_, Operation::barrier, 0);
  void* word = group_->scratch(sizeof(std::int32_t));  // the value has no meaning
  call.check(ncclAllReduce(word, word, 1, ncclInt32, ncclSum, group_->comm(), group_->stream()),
             "ncclAllReduce");
  return call.finish();
}

/// The data that the group's first rank gives to the others.
struct Invitation {
  ncclUniqueId id{};
  std::uint64_t key = 0;
  ncclResult_t code = ncclSuccess;
};

Invitation share_invitation(Communicator& group, const std::string& name) {
  Invitation invitation;
  if (group.rank() == 0) {
    invitation.code = ncclGetUniqueId(&invitation.id);
    std::random_device random;
    invitation.key = (std::uint64_t{random()} << 32) | random() | 1;  // never 0, because 0 means no key
  }
  // Sent even without an id, because the other ranks wait for it.
  group.broadcast(std::as_writable_bytes(std::span(&invitation, 1)), 0).wait();
  check_nccl(invitation.code, "ncclGetUniqueId", nullptr, fmt::format("on rank 0 of group '{}'", name));
  return invitation;
}

std::vector<int> gather_world_ranks(Communicator& group) {
  int own = 0;
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &own), "MPI_Comm_rank", "for an NCCL group");
  std::vector<int> all(static_cast<std::size_t>(group.size()));
  group.all_gather(std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(all))).wait();
  return all;
}

}  // namespace

std::unique_ptr<Communicator> make_nccl_group(Communicator& parent, std::span<const int> members,
                                              std::string name, const NcclOptions& options) {
  WAN_CHECK(options.watchdog != nullptr, "group '{}' has no watchdog", name);
  WAN_CHECK(options.timeout_s > 0, "a timeout of {} s", options.timeout_s);
  auto meeting = make_mpi_group(parent, members, name, {.timeout_s = options.init_timeout_s});
  const Invitation invitation = share_invitation(*meeting, name);
  GroupIdentity identity{.name = std::move(name),
                         .rank = meeting->rank(),
                         .world_ranks = gather_world_ranks(*meeting),
                         .key = invitation.key};
  NcclCommHandle comm = connect(invitation.id, identity, *meeting, options);
  return std::make_unique<NcclCommunicator>(
      std::make_shared<NcclGroup>(std::move(comm), std::move(identity), options, std::move(meeting)));
}

}  // namespace wan::comm
