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
  std::uint64_t available_bytes = 0;                ///< host memory
  std::optional<std::uint64_t> cgroup_limit_bytes;  ///< limit of this process's control group
  Limit locked_bytes;
  Limit open_files;
  Limit stack_bytes;
  std::optional<std::uint64_t> shm_total_bytes;  ///< size of /dev/shm; empty: it does not exist
  std::uint64_t shm_free_bytes = 0;
  bool has_infiniband = false;
  int cores = 1;        ///< cores of the machine
  int bound_cores = 1;  ///< cores that this process may use
  int local_ranks = 1;  ///< ranks of this job on this machine
  std::optional<std::int64_t> omp_threads;
};

SystemFacts gather_system(const Environment& environment, int local_ranks);
/// Checks what the ranks of a machine share.
std::vector<Finding> check_host(const SystemFacts& facts);
/// Checks the limits of each process.
std::vector<Finding> check_process(const SystemFacts& facts);

}  // namespace wan::doctor
