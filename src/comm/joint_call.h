#pragma once

#include <functional>
#include <optional>
#include <string>

#include "comm/communicator.h"

namespace wan::comm {

/// A library's call that all ranks of a group must make and that waits inside for the others, where no
/// watchdog sees it and nothing can call it off.
struct JointCall {
  /// For messages: "rank 1 of 4 in group 'fsdp' (world rank 5): ncclCommInitRankConfig".
  std::string what;
  /// Makes the call, on a thread of its own. Throws std::exception if it fails.
  std::function<void()> call;
  /// Longest that it may take on any rank, in seconds.
  double timeout_s = 0;
  /// How long the other ranks are waited for once it has failed on one of them, in seconds: the same failure
  /// may come on all of them, only later.
  double grace_s = 0;
  /// What to look at when the time is up.
  std::string advice;
};

/// How a joint call ended on all ranks.
struct JointResult {
  int failed = 0;                    ///< ranks that it failed on
  std::optional<std::string> error;  ///< what the lowest of them says; empty if none failed
};

/// Makes the call on every rank. The ranks tell each other over `meeting`, the same group over MPI, on their
/// main threads, how far they are, so that one that fails, or never comes back, is known to all at once.
/// Returns the same on all ranks when the call has ended on all of them. Throws Error on all ranks alike if
/// it has not: with what the lowest rank says that it failed on, or that ran out of time. Then the threads
/// still inside are left to themselves, and the process ends without the destructors of static objects, which
/// they may use. Collective.
JointResult make_joint_call(Communicator& meeting, const JointCall& call);

}  // namespace wan::comm
