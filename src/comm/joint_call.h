#pragma once

#include <functional>
#include <optional>
#include <string>

#include "comm/communicator.h"

namespace wan::comm {

/// A library call that all ranks of a group must make and that waits inside for the others. No watchdog sees
/// that wait, and nothing can cancel it.
struct JointCall {
  /// For messages: "rank 1 of 4 in group 'fsdp' (world rank 5): ncclCommInitRankConfig".
  std::string what;
  /// Makes the call, on its own thread. Throws std::exception if it fails.
  std::function<void()> call;
  /// The longest time that the call may take on any rank, in seconds.
  double timeout_s = 0;
  /// How long the ranks wait for the others after a failure on one rank, in seconds. The same failure may
  /// come later on the other ranks.
  double grace_s = 0;
  /// Advice for the user's message about a timeout: where to look.
  std::string advice;
};

/// The result of a joint call on all ranks.
struct JointResult {
  int failed = 0;                    ///< number of ranks on which it failed
  std::optional<std::string> error;  ///< the error of the lowest rank that failed; empty if none failed
};

/// Makes the call on every rank. Meanwhile, the ranks' main threads tell each other over `meeting` (the same
/// group over MPI) how far they are. So all ranks know at once if the call fails on one rank or never
/// returns. Returns the same result on all ranks once the call has ended on all of them.
///
/// Otherwise throws Error on all ranks, with the error of the lowest rank that failed or timed out. Threads
/// that are still inside the call are abandoned. The process then ends without the destructors of static
/// objects, because those threads may use them. Collective.
JointResult make_joint_call(Communicator& meeting, const JointCall& call);

}  // namespace wan::comm
