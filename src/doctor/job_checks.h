#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "doctor/environment.h"
#include "doctor/finding.h"

namespace wan::doctor {

/// Checks the rank's view of its Slurm job. No findings outside a job.
std::vector<Finding> check_slurm(const Environment& environment, int visible_gpus, int local_ranks);

/// Facts that each rank sends, for checks that compare ranks.
struct RankFacts {
  int rank = 0;
  std::string host;
  std::string version;  ///< the program's version
  int local_rank = 0;
  int visible_gpus = 0;
  std::string gpu_bus_id;  ///< bus id of the GPU that the rank would use; empty: none
  std::string gpu_name;
  std::uint64_t gpu_bytes = 0;
  std::string bound_cores;  ///< "0-3,8": the cores that the rank is bound to; empty: all cores of the machine
};

std::string to_json(const RankFacts& facts);
/// Throws Error if the text is not from to_json().
RankFacts rank_facts_from_json(std::string_view text);

/// "0-3,8" if this process is bound to some of the machine's cores; otherwise empty. Also empty if mpirun
/// bound it by its default, because a run then divides the cores.
std::string bound_cores_text();

/// `ranks`: in rank order. `environment`: rank 0's.
std::vector<Finding> check_job(std::span<const RankFacts> ranks, const Environment& environment);

}  // namespace wan::doctor
