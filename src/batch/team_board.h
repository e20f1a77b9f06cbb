#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "batch/order.h"
#include "comm/mailbox.h"

namespace wan::batch {

// How groups that have nothing left to do help those that still work. Nobody waits and nobody is master: a
// leader whose queue is empty says so to all others, once, and listens; one that still works looks between
// two steps whether all its neighbours are idle, and if so invites them. Teams are aligned (groups 0-1, 2-3,
// 0-3, 4-7, ...), so that two that work never compete: of two teams that share a group one holds the other,
// and then not all of the larger one's groups are idle.

/// One leader's view of the others of its run, from the main thread. A rank that does not lead can only tell
/// its leader that the run is to stop.
class TeamBoard {
 public:
  /// A run of one group, or one whose groups do not join.
  TeamBoard() = default;
  /// `mailbox` must outlive the board; the leader of group g is rank g * `ranks_per_group` of it. On every
  /// rank of the group.
  TeamBoard(comm::Mailbox& mailbox, int group_index, int group_count, int ranks_per_group);

  /// To all: this group has no items of its own any more.
  void announce_idle();
  /// To all leaders, or from a rank that does not lead to its own: this run is to stop.
  void announce_stop();
  /// Into a team that this group leads, to all its other groups.
  void invite(const Order& order);

  /// Reads what has come.
  void read_letters();
  bool has_heard_stop() const { return has_heard_stop_; }
  bool are_all_idle() const;
  /// The widest team around this group whose other groups are all idle; 1 if there is none.
  int idle_width() const;
  std::optional<Order> take_invitation();

  /// Where this group stands in an order that puts neighbours far apart: of few items the groups that come
  /// first here should take one each, so that each can grow.
  int place_in_spread() const;

 private:
  struct Letter;
  void send_to_all(const Letter& letter);

  comm::Mailbox* mailbox_ = nullptr;
  int group_index_ = 0;
  int group_count_ = 1;
  int ranks_per_group_ = 1;
  bool leads_ = true;
  std::vector<bool> is_idle_ = {false};
  bool has_heard_stop_ = false;
  bool has_announced_stop_ = false;
  std::deque<Order> invitations_;
};

}  // namespace wan::batch
