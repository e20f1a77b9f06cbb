#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <map>

#include "comm/mailbox.h"

namespace wan::batch::test {

/// Letters between the ranks of one test, in memory.
class Post {
 public:
  std::map<int, std::deque<comm::Mailbox::Letter>> letters;
};

class TestMailbox final : public comm::Mailbox {
 public:
  TestMailbox(Post& post, int rank, int size) : post_(post), rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void send(int to, std::span<const std::byte> bytes) override {
    ASSERT_LT(to, size_);
    ASSERT_LE(bytes.size(), max_letter_bytes);
    post_.letters[to].push_back({.from = rank_, .bytes = {bytes.begin(), bytes.end()}});
  }
  std::optional<Letter> receive() override {
    auto& mine = post_.letters[rank_];
    if (mine.empty()) return std::nullopt;
    Letter letter = mine.front();
    mine.pop_front();
    return letter;
  }

 private:
  Post& post_;
  int rank_;
  int size_;
};

}  // namespace wan::batch::test
