#include "comm/mpi/environment.h"

#include <dlfcn.h>
#include <mpi.h>
#include <unistd.h>

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

void start_mpi(int& provided) {
  const Launch launch = read_launch();
  // Open MPI would end the process, with a message that does not say what to do here.
  if (launch.is_in_slurm_step && !launch.has_pmi && !has_slurm_pmi())
    fail<UsageError>("{}", describe_failed_start());
  if (const std::string problem = launch.has_pmi ? "" : describe_temporary_folder(); !problem.empty())
    fail<UsageError>("{}", problem);
  prepare_environment_for_mpi();
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread", "at start");
}

/// Initialises MPI unless that has been done; returns whether this call did it.
bool initialise() {
  int finalized = 0;
  int initialized = 0;
  check_mpi(MPI_Finalized(&finalized), "MPI_Finalized", "at start");
  if (finalized != 0) fail("MPI has been finalised and cannot be started a second time in one process");
  check_mpi(MPI_Initialized(&initialized), "MPI_Initialized", "at start");
  int provided = MPI_THREAD_SINGLE;
  if (initialized == 0) {
    start_mpi(provided);
  } else {
    check_mpi(MPI_Query_thread(&provided), "MPI_Query_thread", "at start");
  }
  if (provided < MPI_THREAD_FUNNELED) {
    fail(
        "MPI runs with thread level {} but MPI_THREAD_FUNNELED ({}) is needed: call MPI_Init_thread instead "
        "of MPI_Init, or use an MPI library built with thread support",
        provided, MPI_THREAD_FUNNELED);
  }
  return initialized == 0;
}

}  // namespace

MpiEnvironment::MpiEnvironment(MpiUse use) : exceptions_at_start_(std::uncaught_exceptions()) {
  if (use == MpiUse::none) {
    std::array<char, 256> host{};
    host_name_ = ::gethostname(host.data(), host.size() - 1) == 0 ? host.data() : "unknown";
    return;
  }
  owner_ = initialise();
  is_started_ = true;
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler",
            "at start");
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler", "at start");
  read_topology();
}

void MpiEnvironment::read_topology() {
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank", "at start");
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI_Comm_size", "at start");
  std::array<char, MPI_MAX_PROCESSOR_NAME> host{};
  int length = 0;
  check_mpi(MPI_Get_processor_name(host.data(), &length), "MPI_Get_processor_name", "at start");
  host_name_.assign(host.data(), static_cast<std::size_t>(length));

  MPI_Comm node = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node),
            "MPI_Comm_split_type", "at start");
  const CommHandle node_handle(node);
  check_mpi(MPI_Comm_rank(node, &local_rank_), "MPI_Comm_rank", "on the node");
  check_mpi(MPI_Comm_size(node, &local_size_), "MPI_Comm_size", "on the node");
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
