#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "doctor/environment.h"
#include "doctor/finding.h"

namespace wan::doctor {

/// A resource limit of this process; empty: unlimited.
using Limit = std::optional<std::uint64_t>;

/// This process and its machine.
struct SystemFacts {
  std::uint64_t available_bytes = 0;                ///< of host memory
  std::optional<std::uint64_t> cgroup_limit_bytes;  ///< of this process's control group
  Limit locked_bytes;
  Limit open_files;
  Limit stack_bytes;
  std::optional<std::uint64_t> shm_total_bytes;  ///< of /dev/shm; empty: it is not there
  std::uint64_t shm_free_bytes = 0;
  bool has_infiniband = false;
  int cores = 1;        ///< of the machine
  int bound_cores = 1;  ///< that this process may run on
  int local_ranks = 1;  ///< of this job on this machine
  std::optional<std::int64_t> omp_threads;
};

SystemFacts gather_system(const Environment& environment, int local_ranks);
/// What the ranks of a machine share.
std::vector<Finding> check_host(const SystemFacts& facts);
/// What each process has of its own.
std::vector<Finding> check_process(const SystemFacts& facts);

}  // namespace wan::doctor
