#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/nccl/cuda_support.h"
#include "comm/nccl/nccl.h"
#include "comm/nccl/support.h"
#include "comm/watch/call_record.h"
#include "comm/watch/watchdog.h"
#include "core/clock.h"

namespace wan::comm {

/// What an NCCL communicator, its calls under way and the watchdog share. Except for observe(), all is called
/// from the one host thread that issues collectives.
class NcclGroup final : public WatchedGroup {
 public:
  /// On the current device. `meeting`: the same ranks over MPI, for what the host threads have to agree on.
  NcclGroup(NcclCommHandle comm, GroupIdentity identity, NcclOptions options,
            std::unique_ptr<Communicator> meeting);
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;
  ~NcclGroup() override;

  ncclComm_t comm() const { return comm_.get(); }
  cudaStream_t stream() const { return stream_.get(); }
  cudaStream_t compute_stream() const { return options_.compute_stream; }
  const GroupIdentity& identity() const override { return identity_; }
  double timeout_s() const override { return options_.timeout_s; }
  bool uses_copy_engines() const { return options_.copy_engines; }
  Communicator& meeting() const { return *meeting_; }
  /// Whether a call was lost.
  bool is_abandoned();

  /// Device memory for the call being issued. The next call may get the same: they run one after the other.
  void* scratch(std::size_t bytes);

  /// Takes the next number and notes the call as under way. Throws Error if the group was abandoned.
  CallRecord begin(Operation operation, std::size_t bytes);
  /// Tell the watchdog, of the call begun last, which event marks the end of what comes before it, and which
  /// its own end.
  void note_ready(PooledEvent ready);
  void note_done(PooledEvent done);
  PooledEvent take_event() { return events_->take(); }

  /// The group has lost a call and cannot be used any more.
  void abandon() noexcept;
  /// The same where a thread is still inside a call on the communicator, which must not be touched any more.
  void abandon_to_thread() noexcept;

  Observation observe() override;

 private:
  struct InFlight {
    CallRecord call;
    PooledEvent ready;  ///< what comes before the call; null until it is recorded
    PooledEvent done;   ///< null until the call is issued
  };

  std::optional<InFlight> oldest();
  void retire_finished();
  std::optional<Running> oldest_running();

  NcclOptions options_;  ///< first: the watchdog outlives what uses it
  GroupIdentity identity_;
  std::unique_ptr<Communicator> meeting_;
  int device_ = 0;
  CudaStream stream_;
  std::vector<DeviceBuffer>
      scratch_;  ///< only the last is in use; earlier ones may be until the device is idle
  NcclCommHandle comm_;
  std::shared_ptr<EventPool> events_ = std::make_shared<EventPool>();
  ProgressBoard::Row progress_;
  std::uint64_t next_number_ = 0;

  std::mutex mutex_;  ///< guards the two below
  std::deque<InFlight> in_flight_;
  bool abandoned_ = false;

  std::optional<Stopwatch> running_;  ///< of the oldest call; the watchdog's
};

/// A call being issued: made first, then NCCL is called on the group's stream, then finish(). Destroyed
/// without, it abandons the group.
class NcclCall {
 public:
  /// The group's stream waits for what is on the compute stream. Throws Error.
  NcclCall(std::shared_ptr<NcclGroup> group, Operation operation, std::size_t bytes);
  NcclCall(const NcclCall&) = delete;
  NcclCall& operator=(const NcclCall&) = delete;
  ~NcclCall();

  /// Throw Error naming the library's call, this call and the rank.
  void check(ncclResult_t code, const char* nccl_call) const;
  void check(cudaError_t code, const char* cuda_call) const;

  Ticket finish();

 private:
  void follow_compute_stream();
  std::string where() const;

  std::shared_ptr<NcclGroup> group_;
  CallRecord call_;
  bool finished_ = false;
};

}  // namespace wan::comm
