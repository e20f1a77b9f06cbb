#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "doctor/environment.h"
#include "doctor/finding.h"

namespace wan::doctor {

/// What a rank sees of its Slurm job. Empty without one.
std::vector<Finding> check_slurm(const Environment& environment, int visible_gpus, int local_ranks);

/// What one rank tells of itself, for what only shows when ranks are held against each other.
struct RankFacts {
  int rank = 0;
  std::string host;
  std::string version;  ///< of the program
  int local_rank = 0;
  int visible_gpus = 0;
  std::string gpu_bus_id;  ///< of the GPU that it would use; empty: none
  std::string gpu_name;
  std::uint64_t gpu_bytes = 0;
  std::string bound_cores;  ///< "0-3,8": those it may run on, if not all of the machine
};

std::string to_json(const RankFacts& facts);
/// Throws Error if the text is not to_json()'s.
RankFacts rank_facts_from_json(std::string_view text);

/// "0-3,8" if this process is bound to some of the machine's cores, else empty.
std::string bound_cores_text();

/// `ranks` in order. `environment`: of rank 0.
std::vector<Finding> check_job(std::span<const RankFacts> ranks, const Environment& environment);

}  // namespace wan::doctor
