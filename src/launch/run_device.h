#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/mpi/ranks.h"
#include "gpu/device.h"
#include "kernels/compute.h"
#include "launch/options.h"

namespace wan::launch {

/// The device on which this rank computes.
struct RunDevice {
  kernels::Compute compute;
  gpu::DeviceInfo gpu;  ///< meaningful if compute.on_gpu()
  /// The name of rank 0's GPU; empty on the CPU. All ranks plan for this one, so that they plan alike.
  std::string reference_gpu;
  /// That every rank can count on, of its GPU or its share of the host's: the least that any rank has, so
  /// that all ranks plan with the same number.
  std::uint64_t memory_bytes = 0;
  std::uint64_t host_memory_bytes = 0;  ///< each rank's share of the host's memory, likewise

  VaePrecision vae_precision = VaePrecision::exact;  ///< the option's

  std::vector<std::string> notes = {};  ///< for the log: how cores were divided, and the matrix products

  std::string name() const { return compute.on_gpu() ? gpu.name : "cpu"; }
};

/// Whether the environment keeps GPUs from reaching each other's memory (NCCL_P2P_DISABLE): what they
/// exchange goes through the host's.
bool are_peers_switched_off();

/// Gives every rank a GPU of its own, the local rank's, or with --device cpu, or where there is none, the
/// CPU, as a dry run and a plan for another machine always do; and --precision its type. Creates the GPU's
/// context. Collective; throws AgreedError with exit code 2: no GPU for --device cuda, fewer GPUs than ranks
/// on a node, two ranks on one GPU, GPUs of different memory, GPUs that cannot reach each other, GPUs that
/// this build has no code for, a driver older than what LibTorch needs, a precision that the device does not
/// have, no GPU to be seen although Slurm or the driver's device files say that there are some (not with
/// --device cpu).
RunDevice choose_device(comm::Communicator& world, const comm::MpiRanks& ranks, const Options& options);

}  // namespace wan::launch
