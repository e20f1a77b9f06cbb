#include "comm/mpi/ranks.h"

#include <unistd.h>

#include <array>

#include "comm/mpi/support.h"
#include "core/check.h"

namespace wan::comm {
namespace {

void require_running_mpi() {
  int initialized = 0;
  int finalized = 0;
  check_mpi(MPI_Initialized(&initialized), "MPI_Initialized", "at start");
  check_mpi(MPI_Finalized(&finalized), "MPI_Finalized", "at start");
  if (initialized == 0) fail("MPI is not initialised: call MPI_Init_thread with MPI_THREAD_FUNNELED first");
  if (finalized != 0) fail("MPI has been finalised and cannot be started a second time in one process");
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Query_thread(&provided), "MPI_Query_thread", "at start");
  if (provided < MPI_THREAD_FUNNELED) {
    fail(
        "MPI runs with thread level {} but MPI_THREAD_FUNNELED ({}) is needed: call MPI_Init_thread instead "
        "of MPI_Init, or use an MPI library built with thread support",
        provided, static_cast<int>(MPI_THREAD_FUNNELED));  // an enumerator without a name in Open MPI 5
  }
  int is_main = 0;
  check_mpi(MPI_Is_thread_main(&is_main), "MPI_Is_thread_main", "at start");
  if (provided == MPI_THREAD_FUNNELED && is_main == 0) {
    fail(
        "this is not the thread that initialised MPI, and the thread level is MPI_THREAD_FUNNELED: call from "
        "that thread, or initialise MPI with MPI_THREAD_SERIALIZED");
  }
}

void require_intra_communicator(MPI_Comm comm) {
  if (comm == MPI_COMM_NULL)
    fail("the communicator is MPI_COMM_NULL: name the ranks that are to work together");
  int is_inter = 0;
  check_mpi(MPI_Comm_test_inter(comm, &is_inter), "MPI_Comm_test_inter", "at start");
  if (is_inter != 0) fail("the communicator is an inter-communicator; merge it first (MPI_Intercomm_merge)");
}

}  // namespace

MpiRanks::MpiRanks() {
  std::array<char, 256> host{};
  host_name_ = ::gethostname(host.data(), host.size() - 1) == 0 ? host.data() : "unknown";
}

MpiRanks::MpiRanks(MPI_Comm comm) : comm_(comm) {
  require_running_mpi();
  require_intra_communicator(comm);
  check_mpi(MPI_Comm_rank(comm, &rank_), "MPI_Comm_rank", "at start");
  check_mpi(MPI_Comm_size(comm, &size_), "MPI_Comm_size", "at start");
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &world_rank_), "MPI_Comm_rank", "at start");
  std::array<char, MPI_MAX_PROCESSOR_NAME> host{};
  int length = 0;
  check_mpi(MPI_Get_processor_name(host.data(), &length), "MPI_Get_processor_name", "at start");
  host_name_.assign(host.data(), static_cast<std::size_t>(length));

  MPI_Comm node = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node),
            "MPI_Comm_split_type", "at start");
  const CommHandle node_handle(node);
  check_mpi(MPI_Comm_rank(node, &local_rank_), "MPI_Comm_rank", "on the node");
  check_mpi(MPI_Comm_size(node, &local_size_), "MPI_Comm_size", "on the node");
  node_ = rank_;
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &node_, 1, MPI_INT, MPI_MIN, node), "MPI_Allreduce", "on the node");
}

}  // namespace wan::comm
