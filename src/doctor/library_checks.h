#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "comm/nccl/version.h"
#include "doctor/environment.h"
#include "doctor/finding.h"

namespace wan::doctor {

struct NcclFacts {
  std::optional<comm::NcclVersion> version;   ///< empty: built without
  std::vector<std::filesystem::path> others;  ///< libraries in LD_LIBRARY_PATH that are not the one loaded
};

NcclFacts gather_nccl(const Environment& environment);
std::vector<Finding> check_nccl(const NcclFacts& facts);

struct MpiFacts {
  std::string compiled;     ///< "Open MPI 4.1.4"
  std::string running;      ///< the library's own words
  bool is_threaded = true;  ///< at least MPI_THREAD_FUNNELED was given
  int ranks = 1;
  std::int64_t launched = 1;  ///< processes that the launcher says it started
  std::string launcher;       ///< "mpirun", "srun", "Slurm" (a job, but no step); empty: a bare start
  bool has_pmi = true;        ///< there is somebody whom MPI can ask for other ranks
};

/// Works without MPI running, and then cannot tell its thread level.
MpiFacts gather_mpi(const Environment& environment, int ranks);
/// How many processes were started and by what, as the environment tells: into `launched` and `launcher`.
void read_launcher(const Environment& environment, MpiFacts& facts);
std::vector<Finding> check_mpi(const MpiFacts& facts);

}  // namespace wan::doctor
