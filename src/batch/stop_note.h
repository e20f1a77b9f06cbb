#pragma once

#include <thread>
#include <vector>

#include "batch/item.h"
#include "comm/communicator.h"
#include "store/claims.h"

namespace wan::batch {

/// A rank of a group, with the data that its leader needs to watch it.
struct GroupMember {
  std::int64_t pid = 0;
  std::uint64_t machine = 0;  ///< equal for ranks that see each other's processes; 0: unknown
};

/// Returns all ranks of the group, in order. Collective.
std::vector<GroupMember> exchange_members(comm::Communicator& group);

/// Marks in a leader's owner file that it was told to stop, as soon as the signal has come. If the process is
/// killed then, in the middle of a step, its item is not at fault. Makes no mark if a rank of its own group
/// has died before: launchers end the whole job for that, by the same signal.
class StopNote {
 public:
  /// All must outlive the note.
  StopNote(const RunContext& context, const store::Claims& claims, const std::vector<GroupMember>& members);

 private:
  std::jthread thread_;
};

}  // namespace wan::batch
