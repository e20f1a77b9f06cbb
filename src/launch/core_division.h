#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace wan::launch {

/// One core of a node, as the kernel describes it below /sys.
struct Core {
  int socket = 0;
  int numa = 0;
  int number = 0;         ///< the smallest of its hardware threads
  std::vector<int> cpus;  ///< its hardware threads that the job may use
};

/// The place of a GPU in a node; -1: unknown, as in most virtual machines.
struct GpuPlace {
  int socket = -1;
  int numa = -1;
};

/// The cores of a node that have a hardware thread among `allowed`, by socket, NUMA node and number. `sys` is
/// the root of the tree, "/sys". A value that is missing there counts as 0.
std::vector<Core> read_cores(const std::filesystem::path& sys, const std::set<int>& allowed);

/// The place of the GPU with this PCI address, "0000:1b:00.0" in any case; the domain may have eight digits.
GpuPlace read_gpu_place(const std::filesystem::path& sys, std::string bus_id);

/// Divides a node's cores among its ranks, none shared. A rank whose GPU is on a socket where the job has
/// cores gets cores of that socket, and among these first those of the GPU's NUMA node; if there are fewer
/// cores than ranks on a socket, the last of them go elsewhere. Ranks that have no GPU, or whose place is
/// unknown, share all cores evenly. Returns the hardware threads of each rank; nothing if there are fewer
/// cores than ranks.
std::vector<std::set<int>> divide_cores(const std::vector<Core>& cores, const std::vector<GpuPlace>& ranks);

}  // namespace wan::launch
