#include "batch/stop_note.h"

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <span>

namespace wan::batch {
namespace {

constexpr std::chrono::milliseconds look_interval{20};  // mpirun kills about a second after its SIGTERM

}  // namespace

std::vector<GroupMember> exchange_members(comm::Communicator& group) {
  const std::string machine = store::this_machine();
  const GroupMember own{.pid = ::getpid(),
                        .machine = machine.empty() ? 0 : std::hash<std::string>()(machine) | 1U};
  std::vector<GroupMember> members(static_cast<std::size_t>(group.size()));
  group.all_gather(std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(members))).wait();
  return members;
}

StopNote::StopNote(const RunContext& context, const store::Claims& claims,
                   const std::vector<GroupMember>& members) {
  if (!context.stop.is_pending) return;
  thread_ = std::jthread([&](const std::stop_token& stop) {
    while (!stop.stop_requested() && !context.stop.is_pending()) std::this_thread::sleep_for(look_interval);
    if (stop.stop_requested()) return;
    const bool is_group_whole = std::ranges::none_of(members, [&](const GroupMember& member) {
      return member.machine != 0 && member.machine == members.front().machine && store::is_gone(member.pid);
    });
    if (is_group_whole) claims.note_stop();
  });
}

}  // namespace wan::batch
