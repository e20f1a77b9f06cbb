#pragma once

#include <string>

namespace wan::comm {

/// Whether MPI is started at all.
enum class MpiUse {
  full,
  none,  ///< this process is alone: MPI is not called, so that it works where MPI cannot be started
};

/// MPI for the life of this object. Make one in main() before anything that uses MPI; every MPI communicator
/// must be gone before it is. Uses the calling thread only (MPI_THREAD_FUNNELED) and has MPI errors returned
/// instead of ending the program.
///
/// If the program has initialised MPI already (an embedding application, a test), that is used as it is and
/// finalising is left to its owner.
class MpiEnvironment {
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

  bool is_started() const { return is_started_; }
  int rank() const { return rank_; }
  int size() const { return size_; }
  const std::string& host_name() const { return host_name_; }
  int local_rank() const { return local_rank_; }  ///< among the ranks of this node, from 0
  int local_size() const { return local_size_; }  ///< ranks on this node

  /// Ends every rank of the job with this exit code, after flushing the standard streams.
  [[noreturn]] static void abort(int code) noexcept;

 private:
  void read_topology();

  bool is_started_ = false;
  bool owner_ = false;
  int exceptions_at_start_ = 0;
  int rank_ = 0;
  int size_ = 1;
  std::string host_name_;
  int local_rank_ = 0;
  int local_size_ = 1;
};

}  // namespace wan::comm
