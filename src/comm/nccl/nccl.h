#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <span>
#include <string>

#include "comm/communicator.h"
#include "comm/watch/watchdog.h"

namespace wan::comm {

struct NcclOptions {
  /// Where the buffers are computed and used: a call begins when the work put on this stream before it is
  /// done, and the work put on it after the ticket's wait() finds the call complete.
  cudaStream_t compute_stream = nullptr;
  /// Of this process, made once. It ends the job when a call takes too long or the group fails.
  std::shared_ptr<Watchdog> watchdog;
  /// Longest that one call may run on the device, in seconds, from when all that comes before it on this rank
  /// is done.
  double timeout_s = 120;
  /// Longest that the ranks may take to connect, in seconds. Then make_nccl_group() throws.
  double init_timeout_s = 600;
  /// Most blocks that NCCL's kernels may take of the GPU, and with them most of its channels, each of which
  /// costs megabytes of buffers per peer; 0: NCCL's own choice. The environment's NCCL_MAX_CTAS wins.
  int max_ctas = 0;
  /// allocate() gives memory that is registered with the group, and collectives within it are carried out by
  /// the GPUs' copy engines, without taking blocks from what computes meanwhile. For ranks of one node.
  bool copy_engines = false;
};

/// The sub-group of `parent` that this rank belongs to, over NCCL, on the current device. `parent`, `members`
/// and who takes part are as for make_mpi_group(); every rank of a group has a device of its own.
///
/// Buffers are device memory. Each group has a stream of its own, of high priority; no call blocks the host
/// thread, save that the first of a kind connects the ranks. wait() makes the compute stream wait, not the
/// host: it returns at once, and a barrier's wait() holds back the compute stream alone. So a call that hangs
/// or fails on the device never throws here; it is the watchdog that ends the job.
///
/// An exchange must not be relied on to notice messages whose sizes differ between the peers: NCCL does not.
/// An all_reduce gathers every rank's values and folds them in rank order on each rank, with the same bits as
/// the MPI backend; it is for small arrays: it keeps size() times the memory of the largest.
///
/// Device memory: NCCL takes its own buffers per group and connects the ranks when a kind of call is first
/// used, so a group costs what its calls need; every setting of NCCL's is left at its default or at the
/// environment's, but for max_ctas, which trades bandwidth for memory. This program adds 64 KiB per group.
///
/// Destroying the group waits for its calls to finish on the device; it must happen on all ranks alike. While
/// an exception unwinds, or after a ticket was let go, it aborts the group instead.
///
/// Throws Error with NCCL's or CUDA's message, or if the ranks do not connect in time; on all ranks of the
/// group alike where it is the connecting that fails.
std::unique_ptr<Communicator> make_nccl_group(Communicator& parent, std::span<const int> members,
                                              std::string name, const NcclOptions& options);

}  // namespace wan::comm
