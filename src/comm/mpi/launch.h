#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace wan::comm {

/// The value of an environment variable; nothing if it is not set.
using Lookup = std::function<std::optional<std::string>(const char* name)>;
std::optional<std::string> environment_value(const char* name);

/// What started this process, as its environment tells before MPI is asked.
struct Launch {
  std::string launcher;    ///< "mpirun", "mpiexec", "srun"; "Slurm": a job, but no step of it; empty: nothing
  std::int64_t ranks = 1;  ///< processes that it started, or that the job has tasks for
  std::int64_t rank = 0;   ///< of this process among them
  bool is_in_slurm_step = false;
  bool has_pmi = false;  ///< there is somebody whom MPI can ask for the other ranks (PMI or PMIx)

  /// Whether MPI has to be started to find the other processes of this start.
  bool is_one_of_several() const { return ranks > 1 && has_pmi; }
};

/// Never throws for odd values: what is no number counts as not set.
Launch read_launch(const Lookup& lookup = environment_value);

/// Why `launch` and the number of ranks that MPI sees do not agree, with the remedy; empty: they do. Called
/// where MPI sees one rank although there are to be several, each process would make the whole batch.
std::string describe_lonely_rank(const Launch& launch, int mpi_ranks);

/// What to do in a step of Slurm in which MPI cannot be started, for lack of PMI.
std::string describe_failed_start();

/// Why MPI of one rank could not be started for want of a folder for its temporary files (TMPDIR, else TEMP,
/// else TMP, else /tmp), with the remedy; empty: there is one. Open MPI would end the process.
std::string describe_temporary_folder(const Lookup& lookup = environment_value);

/// Gives MPI what it needs and the environment lacks; never replaces what the user has set. A home (Open MPI
/// crashes in a container whose user has none and is not in its passwd file), and where the kernel forbids to
/// read the memory of other processes, transfers on a node that do without. Before MPI_Init and before there
/// are threads.
void prepare_environment_for_mpi();

}  // namespace wan::comm
