#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "comm/mailbox.h"
#include "comm/mpi/mpi.h"
#include "core/clock.h"
#include "wan/error.h"

namespace wan::comm {
namespace {

std::optional<Mailbox::Letter> wait_for_letter(Mailbox& mailbox) {
  const Stopwatch watch;
  while (watch.elapsed_s() < 30) {
    if (auto letter = mailbox.receive()) return letter;
  }
  return std::nullopt;
}

TEST(MpiMailbox, LettersArriveInTheOrderInWhichEachSenderWroteThem) {
  const MpiEnvironment mpi;
  const auto world = make_mpi_world(mpi);
  const auto mailbox = make_mpi_mailbox(*world);
  EXPECT_FALSE(mailbox->receive().has_value()) << "none was sent yet";
  world->barrier().wait();
  constexpr int letters = 50;
  for (std::int64_t number = 0; number < letters; ++number) {
    for (int to = 0; to < mailbox->size(); ++to) {
      if (to != mailbox->rank()) mailbox->send(to, std::as_bytes(std::span(&number, 1)));
    }
  }
  std::vector<std::int64_t> next(static_cast<std::size_t>(mailbox->size()), 0);
  for (int i = 0; i < letters * (mailbox->size() - 1); ++i) {
    const auto letter = wait_for_letter(*mailbox);
    ASSERT_TRUE(letter.has_value());
    std::int64_t number = -1;
    ASSERT_EQ(letter->bytes.size(), sizeof number);
    std::memcpy(&number, letter->bytes.data(), sizeof number);
    EXPECT_EQ(number, next[static_cast<std::size_t>(letter->from)]++);
  }
  world->barrier().wait();
  EXPECT_FALSE(mailbox->receive().has_value());
}

TEST(MpiMailbox, UnreadAndTooLongLetters) {
  const MpiEnvironment mpi;
  const auto world = make_mpi_world(mpi);
  const auto mailbox = make_mpi_mailbox(*world);
  const std::vector<std::byte> most(Mailbox::max_letter_bytes);
  const std::vector<std::byte> too_long(Mailbox::max_letter_bytes + 1);
  EXPECT_THROW(mailbox->send(0, too_long), Error);
  if (mailbox->rank() != 0) mailbox->send(0, most);  // never read: the end of the program must not hang
  world->barrier().wait();
}

}  // namespace
}  // namespace wan::comm
