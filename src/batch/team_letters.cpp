#include "batch/team_letters.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "comm/rank_grid.h"
#include "core/check.h"

namespace wan::batch {

/// A letter between leaders. It travels byte by byte: all leaders run one program on one kind of machine.
struct TeamLetters::Letter {
  enum class Kind : std::int64_t { idle, stop, invitation };
  Kind kind = Kind::idle;
  std::int64_t group = 0;  ///< of the sender
  Order order = {};        ///< of an invitation
};

TeamLetters::TeamLetters(comm::Mailbox& mailbox, int group_index, int group_count, int ranks_per_group)
    : mailbox_(&mailbox),
      sender_{.group_index = group_index, .group_count = group_count, .ranks_per_group = ranks_per_group},
      is_idle_(static_cast<std::size_t>(group_count), false) {
  WAN_CHECK(mailbox.rank() / ranks_per_group == group_index, "rank {} is not in group {}", mailbox.rank(),
            group_index);
}

void TeamLetters::send_to(int group, const Letter& letter) {
  mailbox_->send(sender_.leader_of(group), std::as_bytes(std::span(&letter, 1)));
}

void TeamLetters::send_to_all(const Letter& letter) {
  for (int group = 0; group < sender_.group_count; ++group) {
    if (group != sender_.group_index) send_to(group, letter);
  }
}

void TeamLetters::announce_idle() {
  auto own = is_idle_[static_cast<std::size_t>(sender_.group_index)];
  if (own) return;
  own = true;
  if (mailbox_ == nullptr) return;
  send_to_all({.kind = Letter::Kind::idle, .group = sender_.group_index});
}

void TeamLetters::announce_stop() {
  if (std::exchange(has_announced_stop_, true) || mailbox_ == nullptr) return;
  const Letter letter{.kind = Letter::Kind::stop, .group = sender_.group_index};
  const bool leads = mailbox_->rank() == sender_.leader_of(sender_.group_index);
  if (leads) {
    send_to_all(letter);
  } else {
    send_to(sender_.group_index, letter);
  }
}

void TeamLetters::invite(const Order& order) {
  WAN_CHECK(mailbox_ != nullptr && order.leader_group == sender_.group_index, "no team to invite into");
  const auto width = static_cast<int>(order.width);
  const int first = sender_.group_index / width * width;
  const Letter letter{.kind = Letter::Kind::invitation, .group = sender_.group_index, .order = order};
  for (int group = first; group < first + width; ++group) {
    if (group != sender_.group_index) send_to(group, letter);
  }
}

void TeamLetters::read_letters() {
  if (mailbox_ == nullptr) return;
  while (const auto received = mailbox_->receive()) {
    Letter letter;
    WAN_CHECK(received->bytes.size() == sizeof letter, "a letter of {} bytes from rank {}",
              received->bytes.size(), received->from);
    std::memcpy(&letter, received->bytes.data(), sizeof letter);
    switch (letter.kind) {
      case Letter::Kind::idle:
        WAN_CHECK(letter.group >= 0 && letter.group < sender_.group_count, "group {}", letter.group);
        is_idle_[static_cast<std::size_t>(letter.group)] = true;
        break;
      case Letter::Kind::stop:
        has_heard_stop_ = true;
        break;
      case Letter::Kind::invitation:
        invitations_.push_back(letter.order);
        break;
    }
  }
}

bool TeamLetters::are_all_idle() const {
  return mailbox_ == nullptr || std::ranges::all_of(is_idle_, [](bool idle) { return idle; });
}

std::vector<int> TeamLetters::idle_widths() const {
  std::vector<int> widths;
  for (const int width : comm::team_widths(sender_.group_count)) {
    const std::optional<int> first = comm::first_of_team(sender_.group_index, width, sender_.group_count);
    if (!first) continue;
    for (int group = *first; group < *first + width; ++group) {
      if (group != sender_.group_index && !is_idle_[static_cast<std::size_t>(group)]) return widths;
    }
    widths.insert(widths.begin(), width);
  }
  return widths;
}

std::optional<Order> TeamLetters::take_invitation() {
  if (invitations_.empty()) return std::nullopt;
  const Order order = invitations_.front();
  invitations_.pop_front();
  return order;
}

int place_in_spread(int group_index, int group_count) {
  // The index with its bits reversed: 0, 4, 2, 6, 1, 5, 3, 7 stand at places 0 to 7.
  const int bits = std::bit_width(static_cast<unsigned>(group_count - 1));
  int place = 0;
  for (int bit = 0; bit < bits; ++bit) place |= ((group_index >> bit) & 1) << (bits - 1 - bit);
  return place;
}

}  // namespace wan::batch
