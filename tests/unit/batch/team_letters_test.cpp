#include "batch/team_letters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>

#include "test_mailbox.h"

namespace wan::batch {
namespace {

using test::Post;
using test::TestMailbox;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// The leaders of `groups` groups of two ranks.
class Leaders {
 public:
  explicit Leaders(int groups) {
    for (int group = 0; group < groups; ++group) {
      boxes_.push_back(std::make_unique<TestMailbox>(post_, 2 * group, 2 * groups));
      letters_.push_back(std::make_unique<TeamLetters>(*boxes_.back(), group, groups, 2));
    }
  }
  TeamLetters& operator[](int group) {
    TeamLetters& letters = *letters_[static_cast<std::size_t>(group)];
    letters.read_letters();
    return letters;
  }

 private:
  Post post_;
  std::vector<std::unique_ptr<TestMailbox>> boxes_;
  std::vector<std::unique_ptr<TeamLetters>> letters_;
};

TEST(TeamLettersTest, TeamsAreAlignedAndWholeOrNotAtAll) {
  Leaders leaders(8);
  EXPECT_THAT(leaders[5].idle_widths(), IsEmpty());
  for (const int idle : {6, 7, 0, 1}) leaders[idle].announce_idle();
  EXPECT_THAT(leaders[5].idle_widths(), IsEmpty()) << "its neighbour 4 is at work";
  leaders[4].announce_idle();
  EXPECT_THAT(leaders[5].idle_widths(), ElementsAre(4, 2));
  EXPECT_THAT(leaders[2].idle_widths(), IsEmpty());
  leaders[3].announce_idle();
  EXPECT_THAT(leaders[2].idle_widths(), ElementsAre(4, 2));
  EXPECT_THAT(leaders[5].idle_widths(), ElementsAre(4, 2)) << "2 is still at work";
  leaders[2].announce_idle();
  EXPECT_THAT(leaders[5].idle_widths(), ElementsAre(8, 4, 2));
  EXPECT_FALSE(leaders[5].are_all_idle());
  leaders[5].announce_idle();
  for (int group = 0; group < 8; ++group) EXPECT_TRUE(leaders[group].are_all_idle());
}

TEST(TeamLettersTest, AllGroupsAreATeamOfAnyWidth) {
  Leaders leaders(7);
  for (const int idle : {0, 1, 2, 3, 5}) leaders[idle].announce_idle();
  EXPECT_THAT(leaders[4].idle_widths(), ElementsAre(2)) << "4 to 7 would be a team, but there is no group 7";
  EXPECT_THAT(leaders[6].idle_widths(), IsEmpty()) << "4 is at work";
  leaders[4].announce_idle();
  EXPECT_THAT(leaders[6].idle_widths(), ElementsAre(7));
  Leaders three(3);
  for (const int idle : {0, 2}) three[idle].announce_idle();
  EXPECT_THAT(three[1].idle_widths(), ElementsAre(3, 2));
}

TEST(TeamLettersTest, ARankThatDoesNotLeadTellsItsLeaderToStop) {
  Post post;
  TestMailbox followers(post, 3, 4);
  TestMailbox leaders(post, 2, 4);
  TeamLetters follower(followers, 1, 2, 2);
  TeamLetters leader(leaders, 1, 2, 2);
  follower.announce_stop();
  follower.announce_stop();
  leader.read_letters();
  EXPECT_TRUE(leader.has_heard_stop());
  EXPECT_EQ(post.letters[0].size(), 0U);
  leader.announce_stop();
  EXPECT_EQ(post.letters[0].size(), 1U);
}

TEST(TeamLettersTest, AnInvitationReachesTheOthersOfTheTeam) {
  Leaders leaders(8);
  leaders[6].invite({.action = Order::Action::run, .row = 17, .seed = 4, .width = 4, .leader_group = 6});
  for (const int invited : {4, 5, 7}) {
    const auto order = leaders[invited].take_invitation();
    ASSERT_TRUE(order.has_value());
    EXPECT_EQ(order->row, 17);
    EXPECT_EQ(order->team().width, 4);
    EXPECT_EQ(order->team().leader, 2);
    EXPECT_FALSE(leaders[invited].take_invitation().has_value());
  }
  for (const int other : {0, 3, 6}) EXPECT_FALSE(leaders[other].take_invitation().has_value());
}

TEST(TeamLettersTest, ACountOfGroupsThatIsNoPowerOfTwoJoinsInPairsAndAtLastAll) {
  Leaders leaders(6);
  for (const int idle : {0, 1, 2, 3, 4}) leaders[idle].announce_idle();
  EXPECT_THAT(leaders[5].idle_widths(), ElementsAre(6, 2));
}

TEST(TeamLettersTest, AStopIsHeardByAll) {
  Leaders leaders(3);
  leaders[1].announce_stop();
  EXPECT_TRUE(leaders[0].has_heard_stop());
  EXPECT_TRUE(leaders[2].has_heard_stop());
}

TEST(TeamLettersTest, AGroupAloneNeedsNobody) {
  TeamLetters alone;
  EXPECT_FALSE(alone.take_invitation().has_value());
  EXPECT_THAT(alone.idle_widths(), IsEmpty());
  EXPECT_TRUE(alone.are_all_idle());
  alone.announce_idle();
  alone.announce_stop();
}

TEST(TeamLettersTest, TheFirstPlacesLieFarApart) {
  EXPECT_EQ(place_in_spread(0, 1), 0);
  std::array<int, 8> places{};
  for (int group = 0; group < 8; ++group) places.at(group) = place_in_spread(group, 8);
  EXPECT_THAT(places, ElementsAre(0, 4, 2, 6, 1, 5, 3, 7));
}

}  // namespace
}  // namespace wan::batch
