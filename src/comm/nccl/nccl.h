#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <span>
#include <string>

#include "comm/communicator.h"
#include "comm/watch/watchdog.h"

namespace wan::comm {

struct NcclOptions {
  /// The stream on which the buffers are computed and used. A call begins when the work issued to this stream
  /// before the call is done. Work issued to it after the ticket's wait() finds the call complete.
  cudaStream_t compute_stream = nullptr;
  /// The process's watchdog, made once. It ends the job when a call takes too long or the group fails.
  std::shared_ptr<Watchdog> watchdog;
  /// The longest time that one call may run on the device, in seconds. It counts from when all earlier work
  /// on this rank is done.
  double timeout_s = 120;
  /// The longest time in which the ranks must connect, in seconds. After it, make_nccl_group() throws.
  double init_timeout_s = 600;
  /// The most blocks that NCCL's kernels may take of the GPU. It also limits NCCL's channels; each channel
  /// costs megabytes of buffers per peer. 0 leaves the choice to NCCL. The environment's NCCL_MAX_CTAS wins.
  int max_ctas = 0;
  /// allocate() returns memory that is registered with the group. The GPUs' copy engines then carry out
  /// collectives within it, and take no blocks from kernels that compute meanwhile. For ranks of one node.
  bool copy_engines = false;
};

/// Makes the sub-group of `parent` that contains this rank, over NCCL, on the current device. `parent`,
/// `members` and the calling ranks are as for make_mpi_group(). Every rank of a group has its own device.
///
/// Buffers are device memory. Each group has its own stream of high priority. No call blocks the host thread,
/// except that the first call of a kind connects the ranks. wait() makes the compute stream wait, not the
/// host: it returns at once. A barrier's wait(), too, holds back the compute stream only. So a call that
/// hangs or fails on the device never throws here; the watchdog ends the job.
///
/// exchange() does not notice messages whose sizes differ between the peers, because NCCL does not. An
/// all_reduce gathers every rank's values and each rank folds them in rank order, with the same bits as the
/// MPI backend. Use it for small arrays: it keeps size() times the memory of the largest.
///
/// Device memory: NCCL allocates its own buffers for each group and connects the ranks at the first call of a
/// kind. So a group costs what its calls need. All settings of NCCL keep the defaults or the environment's
/// values, except max_ctas, which trades bandwidth for memory. This program adds 64 KiB per group.
///
/// Destroying the group waits for its calls to finish on the device. All ranks must destroy it. While an
/// exception unwinds, or after a ticket was dropped, the destructor aborts the group instead.
///
/// Throws Error with NCCL's or CUDA's message, or if the ranks do not connect in time. If connecting fails,
/// all ranks of the group throw.
std::unique_ptr<Communicator> make_nccl_group(Communicator& parent, std::span<const int> members,
                                              std::string name, const NcclOptions& options);

}  // namespace wan::comm
