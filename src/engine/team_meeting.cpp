#include "engine/team_meeting.h"

#include <array>
#include <limits>
#include <span>

#include "comm/first_message.h"
#include "core/check.h"
#include "parallel/host_memory.h"

namespace wan::engine {

std::optional<std::string> TeamMeeting::shortage_in(const std::function<void()>& work) const {
  try {
    parallel::with_host_memory(work);
  } catch (const c10::OutOfMemoryError& error) {
    return hooks_.describe(error);
  }
  return std::nullopt;
}

void TeamMeeting::with_memory(const std::function<void()>& work) { meet(shortage_in(work)); }

void TeamMeeting::with_memory_and_files(const std::function<void()>& work) {
  const std::optional<std::string> shortage = shortage_in(work);
  group_.barrier().wait_without_limit();
  meet(shortage);
}

std::int64_t TeamMeeting::urgency(bool is_short) const {
  if (fault_) return std::numeric_limits<std::int64_t>::max() - fault_->order;
  return is_short ? 1 : 0;
}

void TeamMeeting::meet(const std::optional<std::string>& shortage) {
  const std::int64_t own = urgency(shortage.has_value());
  std::int64_t most = own;
  group_.all_reduce(std::span(&most, 1), comm::ReduceOp::max).wait();
  if (most == 0) return;
  const bool is_fault = most > 1;
  std::optional<std::string> message = is_fault ? std::nullopt : shortage;
  if (is_fault && own == most) message = fault_->message;
  fault_.reset();
  const auto first = comm::first_message(group_, message);
  hooks_.release();
  if (is_fault) throw ItemError(phase_, first ? first->text : "a rank cannot go on");
  throw MemoryError(phase_, first ? first->text : "a rank has too little memory");
}

void TeamMeeting::give_up(const c10::OutOfMemoryError& shortage) {
  meet(hooks_.describe(shortage));
  fail("internal error: this rank's shortage of memory was not reported to the others");
}

StepAction TeamMeeting::most_urgent(StepAction wish) {
  auto said = static_cast<std::int64_t>(wish);
  group_.all_reduce(std::span(&said, 1), comm::ReduceOp::max).wait_without_limit();
  return static_cast<StepAction>(said);
}

void TeamMeeting::await_leader() {
  std::array<std::byte, 1> nothing{};
  comm::Ticket ticket = group_.broadcast(nothing, leader_rank_);
  if (leads()) {
    ticket.wait();
  } else {
    ticket.wait_without_limit();
  }
}

}  // namespace wan::engine
