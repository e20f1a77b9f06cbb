#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace wan::comm {

/// Returns the value of an environment variable, or nothing if it is not set.
using Lookup = std::function<std::optional<std::string>(const char* name)>;
std::optional<std::string> environment_value(const char* name);

/// How this process was started, as its environment says before MPI is asked.
struct Launch {
  std::string launcher;  ///< "mpirun", "mpiexec", "srun"; "Slurm" in a job outside its steps; empty without a
                         ///< launcher
  std::int64_t ranks = 1;  ///< processes that the launcher started, or tasks of the job
  std::int64_t rank = 0;   ///< this process's rank among them
  bool is_in_slurm_step = false;
  bool has_pmi = false;  ///< a process manager (PMI or PMIx) can tell MPI about the other ranks

  /// Whether MPI is needed to find the other processes of this start.
  bool is_one_of_several() const { return ranks > 1 && has_pmi; }
};

/// Never throws for odd values: a variable that is not a number counts as not set.
Launch read_launch(const Lookup& lookup = environment_value);

/// Why `launch` and MPI's number of ranks disagree, with the remedy; empty if they agree. Needed where MPI
/// sees one rank although the launcher started several. Each process would then make the whole batch.
std::string describe_lonely_rank(const Launch& launch, int mpi_ranks);

/// The remedy in a Slurm step in which MPI cannot start because PMI is missing.
std::string describe_failed_start();

/// Why MPI cannot start as one rank: its folder for temporary files (TMPDIR, else TEMP, else TMP, else /tmp)
/// cannot be used. The text contains the remedy; it is empty if the folder is good. Open MPI would end the
/// process.
std::string describe_temporary_folder(const Lookup& lookup = environment_value);

/// Sets what MPI needs and the environment lacks. Never replaces the user's settings. Sets HOME, because Open
/// MPI crashes in a container whose user has no home and no line in its passwd file. Where the kernel forbids
/// reading the memory of other processes, chooses transfers within a node that do not need it. Open MPI
/// starts a daemon for a process without a launcher, and the daemon wants a program that reaches other nodes:
/// names one where there is no ssh. Call it before MPI_Init and before any thread is made.
void prepare_environment_for_mpi(const Launch& launch);

}  // namespace wan::comm
