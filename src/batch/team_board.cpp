#include "batch/team_board.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/check.h"

namespace wan::batch {

/// What leaders write to each other, byte by byte: all are of one program on one kind of machine.
struct TeamBoard::Letter {
  enum class Kind : std::int64_t { idle, stop, invitation };
  Kind kind = Kind::idle;
  std::int64_t group = 0;  ///< of the sender
  Order order = {};        ///< of an invitation
};

TeamBoard::TeamBoard(comm::Mailbox& mailbox, int group_index, int group_count, int ranks_per_group)
    : mailbox_(&mailbox),
      group_index_(group_index),
      group_count_(group_count),
      ranks_per_group_(ranks_per_group),
      leads_(mailbox.rank() == group_index * ranks_per_group),
      is_idle_(static_cast<std::size_t>(group_count), false) {
  WAN_CHECK(mailbox.rank() / ranks_per_group == group_index, "rank {} is not in group {}", mailbox.rank(),
            group_index);
}

void TeamBoard::send_to_all(const Letter& letter) {
  for (int group = 0; group < group_count_; ++group) {
    if (group != group_index_) mailbox_->send(group * ranks_per_group_, std::as_bytes(std::span(&letter, 1)));
  }
}

void TeamBoard::announce_idle() {
  if (is_idle_[static_cast<std::size_t>(group_index_)]) return;
  is_idle_[static_cast<std::size_t>(group_index_)] = true;
  if (mailbox_ == nullptr) return;
  send_to_all({.kind = Letter::Kind::idle, .group = group_index_});
}

void TeamBoard::announce_stop() {
  if (std::exchange(has_announced_stop_, true) || mailbox_ == nullptr) return;
  const Letter letter{.kind = Letter::Kind::stop, .group = group_index_};
  if (leads_) {
    send_to_all(letter);
  } else {
    mailbox_->send(group_index_ * ranks_per_group_, std::as_bytes(std::span(&letter, 1)));
  }
}

void TeamBoard::invite(const Order& order) {
  WAN_CHECK(mailbox_ != nullptr && order.leader_group == group_index_, "no team to invite into");
  const auto width = static_cast<int>(order.width);
  const int first = group_index_ / width * width;
  const Letter letter{.kind = Letter::Kind::invitation, .group = group_index_, .order = order};
  for (int group = first; group < first + width; ++group) {
    if (group != group_index_) mailbox_->send(group * ranks_per_group_, std::as_bytes(std::span(&letter, 1)));
  }
}

void TeamBoard::read_letters() {
  if (mailbox_ == nullptr) return;
  while (const auto received = mailbox_->receive()) {
    Letter letter;
    WAN_CHECK(received->bytes.size() == sizeof letter, "a letter of {} bytes from rank {}",
              received->bytes.size(), received->from);
    std::memcpy(&letter, received->bytes.data(), sizeof letter);
    switch (letter.kind) {
      case Letter::Kind::idle:
        WAN_CHECK(letter.group >= 0 && letter.group < group_count_, "group {}", letter.group);
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

bool TeamBoard::are_all_idle() const {
  return mailbox_ == nullptr || std::ranges::all_of(is_idle_, [](bool idle) { return idle; });
}

int TeamBoard::idle_width() const {
  int width = 1;
  while (true) {
    const int wider = 2 * width;
    const int first = group_index_ / wider * wider;
    if (first + wider > group_count_) return width;
    for (int group = first; group < first + wider; ++group) {
      if (group != group_index_ && !is_idle_[static_cast<std::size_t>(group)]) return width;
    }
    width = wider;
  }
}

std::optional<Order> TeamBoard::take_invitation() {
  if (invitations_.empty()) return std::nullopt;
  const Order order = invitations_.front();
  invitations_.pop_front();
  return order;
}

int TeamBoard::place_in_spread() const {
  // The index with its bits reversed: 0, 4, 2, 6, 1, 5, 3, 7 stand at places 0 to 7.
  const int bits = std::bit_width(static_cast<unsigned>(group_count_ - 1));
  int place = 0;
  for (int bit = 0; bit < bits; ++bit) place |= ((group_index_ >> bit) & 1) << (bits - 1 - bit);
  return place;
}

}  // namespace wan::batch
