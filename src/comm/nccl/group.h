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

/// The state that an NCCL communicator shares with its calls in progress and the watchdog. Only the one host
/// thread that issues collectives may call these functions, except observe().
class NcclGroup final : public WatchedGroup {
 public:
  /// Uses the current device. `meeting` is the same group over MPI; the host threads make agreements over it.
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
  /// Whether the group has lost a call.
  bool is_abandoned();

  /// Device memory for the call that is being issued. The next call may get the same memory, because calls
  /// run one after the other.
  void* scratch(std::size_t bytes);

  /// Takes the next number and notes the call as in progress. Throws Error if the group was abandoned.
  CallRecord begin(Operation operation, std::size_t bytes);
  /// Tells the watchdog which event marks the end of the work before the call begun last.
  void note_ready(PooledEvent ready);
  void note_done(PooledEvent done);
  PooledEvent take_event() { return events_->take(); }

  /// Marks the group as unusable, because it has lost a call.
  void abandon() noexcept;
  /// The same if a thread is still inside a call on the communicator. Nothing may then touch the
  /// communicator.
  void abandon_to_thread() noexcept;

  Observation observe() override;

 private:
  struct InFlight {
    CallRecord call;
    PooledEvent ready;  ///< marks the end of the work before the call; null until it is recorded
    PooledEvent done;   ///< marks the end of the call; null until the call is issued
  };

  std::optional<InFlight> oldest();
  void retire_finished();
  std::optional<Running> oldest_running();

  NcclOptions options_;  ///< first member: the watchdog must outlive its users
  GroupIdentity identity_;
  std::unique_ptr<Communicator> meeting_;
  int device_ = 0;
  CudaStream stream_;
  std::vector<DeviceBuffer>
      scratch_;  ///< only the last one is in use; calls in progress may still use earlier ones
  NcclCommHandle comm_;
  std::shared_ptr<EventPool> events_ = std::make_shared<EventPool>();
  ProgressBoard::Row progress_;
  std::uint64_t next_number_ = 0;

  std::mutex mutex_;  ///< guards the two members below
  std::deque<InFlight> in_flight_;
  bool abandoned_ = false;

  std::optional<Stopwatch> running_;  ///< running time of the oldest call; only the watchdog uses it
};

/// A call that is being issued: construct it, call NCCL on the group's stream, then call finish(). If it is
/// destroyed without finish(), it abandons the group.
class NcclCall {
 public:
  /// Makes the group's stream wait for the work on the compute stream. Throws Error.
  NcclCall(std::shared_ptr<NcclGroup> group, Operation operation, std::size_t bytes);
  NcclCall(const NcclCall&) = delete;
  NcclCall& operator=(const NcclCall&) = delete;
  ~NcclCall();

  /// Throw Error with the library's call, this collective and the rank.
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
