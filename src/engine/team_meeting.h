#pragma once

#include <c10/util/Exception.h>

#include <functional>
#include <optional>
#include <string>

#include "comm/communicator.h"
#include "wan/engine.h"

namespace wan::engine {

/// Where the ranks of a team meet while they make a request.
///
/// Files: the leader's reading and writing may take any time. The others wait for it in await_leader() or in
/// parallel::agree_on_root(), never in a collective that is timed.
///
/// Memory: the ranks meet over their control group before every step and after all other work that takes
/// memory of the compute device. A rank that runs out of memory first completes the collectives that it owes
/// the others. It says so at the next meeting, where all ranks throw MemoryError.
class TeamMeeting {
 public:
  /// Why a request cannot go on.
  struct Fault {
    std::int64_t order = 0;  ///< 0 or more; smaller for what came first
    std::string message;
  };
  struct Hooks {
    /// The message on a shortage of this rank.
    std::function<std::string(const c10::OutOfMemoryError&)> describe;
    /// Gives back what a failed request may have left behind. Called on all ranks alike.
    std::function<void()> release;
  };

  /// `group`: of all ranks of the team; it must outlive the meeting.
  TeamMeeting(comm::Communicator& group, int leader_rank, Hooks hooks)
      : group_(group), leader_rank_(leader_rank), hooks_(std::move(hooks)) {}

  comm::Communicator& group() const { return group_; }
  int leader_rank() const { return leader_rank_; }
  bool leads() const { return group_.rank() == leader_rank_; }

  /// The phase under way, or whose needs are looked at: the stage of a MemoryError.
  void set_phase(std::string phase) { phase_ = std::move(phase); }
  const std::string& phase() const { return phase_; }

  /// Does work that takes memory and ends with a meeting. The work leaves no collective undone when memory
  /// runs out, and has no other way of failing on one rank alone.
  void with_memory(const std::function<void()>& work);
  /// The same where ranks read files, which may take any time.
  void with_memory_and_files(const std::function<void()>& work);
  /// This rank will tell the others at the next meeting why the request cannot go on, in `phase()`. The fault
  /// with the least order of all ranks counts. At most one between two meetings.
  void report(Fault fault) { fault_ = std::move(fault); }
  /// All ranks tell each other whether they had memory enough, and their faults; ItemError of the first
  /// fault, else MemoryError if one had too little. `shortage`: what this rank lacked. Collective.
  void meet(const std::optional<std::string>& shortage);
  /// In place of the next meet(), on a rank that ran out of memory. Always throws.
  [[noreturn]] void give_up(const c10::OutOfMemoryError& shortage);
  /// The most urgent of the ranks' wishes. Collective.
  StepAction most_urgent(StepAction wish);
  /// The other ranks wait here for the leader, which may have been writing or reading files. Collective.
  void await_leader();

 private:
  std::optional<std::string> shortage_in(const std::function<void()>& work) const;
  /// How urgent it is what this rank has to say: 0 is nothing.
  std::int64_t urgency(bool is_short) const;

  comm::Communicator& group_;
  int leader_rank_;
  Hooks hooks_;
  std::string phase_;
  std::optional<Fault> fault_;
};

}  // namespace wan::engine
