#pragma once

#include "comm/mpi/ranks.h"

namespace wan::comm {

/// Whether MPI is started at all.
enum class MpiUse {
  full,
  none,  ///< this process is alone: MPI is not called, so that it works where MPI cannot be started
};

/// MPI for the life of this object, and the ranks of MPI_COMM_WORLD. Make one in main() before anything that
/// uses MPI; every MPI communicator must be gone before it is. Uses the calling thread only
/// (MPI_THREAD_FUNNELED) and has MPI errors returned instead of ending the program.
///
/// If the program has initialised MPI already (an embedding application, a test), that is used as it is and
/// finalising is left to its owner.
class MpiEnvironment : public MpiRanks {
 public:
  /// Throws Error if MPI cannot be started or gives less than MPI_THREAD_FUNNELED, or is finalised already,
  /// and UsageError in a step of Slurm without PMIx, where Open MPI would end the process.
  explicit MpiEnvironment(MpiUse use = MpiUse::full);
  MpiEnvironment(const MpiEnvironment&) = delete;
  MpiEnvironment& operator=(const MpiEnvironment&) = delete;
  MpiEnvironment(MpiEnvironment&&) = delete;
  MpiEnvironment& operator=(MpiEnvironment&&) = delete;
  /// Finalises MPI, which waits for the other ranks; not while an exception unwinds, so that its message gets
  /// printed instead.
  ~MpiEnvironment();

  /// Ends every rank of the job with this exit code, after flushing the standard streams.
  [[noreturn]] static void abort(int code) noexcept;

 private:
  bool owner_ = false;
  int exceptions_at_start_ = 0;
};

}  // namespace wan::comm
