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
  std::optional<comm::NcclVersion> version;  ///< empty in a build without NCCL
  /// libraries in LD_LIBRARY_PATH that differ from the loaded one
  std::vector<std::filesystem::path> others;
};

NcclFacts gather_nccl(const Environment& environment);
std::vector<Finding> check_nccl(const NcclFacts& facts);

struct MpiFacts {
  std::string compiled;     ///< "Open MPI 4.1.4"
  std::string running;      ///< the library's own version text
  bool is_threaded = true;  ///< MPI provides at least MPI_THREAD_FUNNELED
  int ranks = 1;
  std::int64_t launched = 1;  ///< number of processes that the launcher says it started
  std::string launcher;       ///< "mpirun", "srun", "Slurm" (in a job, outside its steps); empty: no launcher
  bool has_pmi = true;        ///< a process manager can tell MPI about the other ranks
};

/// Also works without MPI running, but then does not know its thread level.
MpiFacts gather_mpi(const Environment& environment, int ranks);
/// Reads from the environment how many processes were started and by which launcher. Sets `launched` and
/// `launcher`.
void read_launcher(const Environment& environment, MpiFacts& facts);
std::vector<Finding> check_mpi(const MpiFacts& facts);

/// `encoders`: the names of FFmpeg's encoders that a run can use. Fails without libx264, the default.
std::vector<Finding> check_encoders(const std::vector<std::string>& encoders);

}  // namespace wan::doctor
