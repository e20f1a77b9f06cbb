#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "batch/order.h"
#include "comm/mailbox.h"

namespace wan::batch {

// Groups that have nothing left to do help those that still work. Nobody waits for a letter, and there is no
// master. A leader whose queue is empty tells all other leaders so, once, and listens. A leader that still
// works looks between two steps whether all its neighbours are idle, and if so invites them. Teams are
// aligned (groups 0-1, 2-3, 0-3, 4-7, ..., and all groups), so that two working leaders never compete: if two
// teams share a group, one contains the other, and then not all groups of the larger team are idle.

/// One leader's letters to and from the other leaders of its run, for the main thread. A rank that does not
/// lead can only tell its own leader that the run is to stop.
class TeamLetters {
 public:
  /// For a run of one group, or one whose groups do not join: there is nobody to write to.
  TeamLetters() = default;
  /// `mailbox` must outlive this. The leader of group g is rank g * `ranks_per_group` of it. Every rank of a
  /// group has one.
  TeamLetters(comm::Mailbox& mailbox, int group_index, int group_count, int ranks_per_group);

  /// Tells all other leaders that this group has no items of its own any more.
  void announce_idle();
  /// Tells all other leaders that this run is to stop. A rank that does not lead tells its own leader.
  void announce_stop();
  /// Invites all other groups of a team that this group leads.
  void invite(const Order& order);

  /// Reads the letters that have come.
  void read_letters();
  bool has_heard_stop() const { return has_heard_stop_; }
  bool are_all_idle() const;
  /// The widths of the teams around this group whose other groups are all idle, widest first.
  std::vector<int> idle_widths() const;
  std::optional<Order> take_invitation();

 private:
  struct Letter;
  struct Sender {
    int group_index = 0;
    int group_count = 1;
    int ranks_per_group = 1;
    int leader_of(int group) const { return group * ranks_per_group; }
  };
  void send_to_all(const Letter& letter);
  void send_to(int group, const Letter& letter);

  comm::Mailbox* mailbox_ = nullptr;
  Sender sender_;
  std::vector<bool> is_idle_ = {false};  ///< by group
  bool has_heard_stop_ = false;
  bool has_announced_stop_ = false;
  std::deque<Order> invitations_;
};

/// The place of a group in an order that puts neighbours far apart. If there are few items, the groups that
/// come first in it should take one each, so that each can grow.
int place_in_spread(int group_index, int group_count);

}  // namespace wan::batch
