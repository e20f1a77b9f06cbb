#include "comm/mpi/environment.h"

#include <dlfcn.h>
#include <mpi.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>

#include "comm/mpi/launch.h"
#include "comm/mpi/support.h"
#include "core/check.h"
#include "wan/error.h"

namespace wan::comm {
namespace {

/// Whether this Open MPI can ask Slurm itself for the other ranks, by Slurm's own PMI, which shows in no
/// environment variable.
bool has_slurm_pmi() {
#ifdef OMPI_MAJOR_VERSION
  Dl_info library{};
  const void* symbol = ::dlsym(RTLD_DEFAULT, "MPI_Init_thread");
  if (symbol == nullptr || ::dladdr(symbol, &library) == 0) return false;
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::canonical(library.dli_fname, error).parent_path();
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (!entry->path().filename().string().starts_with("openmpi")) continue;
    for (const char* component : {"mca_pmix_s1.so", "mca_pmix_s2.so"}) {
      if (std::filesystem::exists(entry->path() / component, error)) return true;
    }
  }
  return false;
#else
  return true;  // other libraries run as one rank then, or know Slurm by themselves
#endif
}

void start_mpi() {
  const Launch launch = read_launch();
  // Open MPI would end the process, with a message that does not say what to do here.
  if (launch.is_in_slurm_step && !launch.has_pmi && !has_slurm_pmi())
    fail<UsageError>("{}", describe_failed_start());
  if (const std::string problem = launch.has_pmi ? "" : describe_temporary_folder(); !problem.empty())
    fail<UsageError>("{}", problem);
  prepare_environment_for_mpi(launch);
  int provided = MPI_THREAD_SINGLE;  // MpiRanks looks at it
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread", "at start");
}

/// Initialises MPI unless that has been done; returns whether this call did it.
bool initialise() {
  int initialized = 0;
  check_mpi(MPI_Initialized(&initialized), "MPI_Initialized", "at start");
  if (initialized != 0) return false;
  start_mpi();
  return true;
}

}  // namespace

MpiEnvironment::MpiEnvironment(MpiUse use) : exceptions_at_start_(std::uncaught_exceptions()) {
  if (use == MpiUse::none) return;
  const bool is_owner = initialise();
  MpiRanks::operator=(MpiRanks(MPI_COMM_WORLD));
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler",
            "at start");
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler", "at start");
  owner_ = is_owner;
}

MpiEnvironment::~MpiEnvironment() {
  if (!owner_ || std::uncaught_exceptions() > exceptions_at_start_) return;
  int finalized = 0;
  if (MPI_Finalized(&finalized) == MPI_SUCCESS && finalized == 0) MPI_Finalize();
}

void MpiEnvironment::abort(int code) noexcept {
  std::fflush(nullptr);
  int initialized = 0;
  int finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (initialized != 0 && finalized == 0) MPI_Abort(MPI_COMM_WORLD, code);
  std::_Exit(code);
}

}  // namespace wan::comm
