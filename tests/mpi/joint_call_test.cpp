#include "comm/joint_call.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <thread>

#include "comm/mpi/mpi.h"
#include "comm/mpi/node_map.h"
#include "core/clock.h"
#include "wan/error.h"

namespace wan::comm {
namespace {

using testing::HasSubstr;

/// Behaves like a rank inside a library that waits for another rank.
[[noreturn]] void wait_for_ever() {
  while (true) std::this_thread::sleep_for(std::chrono::hours(1));
}

class JointCallTest : public testing::Test {
 protected:
  bool is_last() const { return world_->rank() == world_->size() - 1; }
  JointCall call(std::function<void()> work) const {
    return {.what = fmt::format("rank {}: a call", world_->rank()),
            .call = std::move(work),
            .timeout_s = 60,
            .grace_s = grace_s_,
            .advice = "Look at it."};
  }
  std::string error_of(const JointCall& call) const {
    try {
      make_joint_call(*world_, call);
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  }

  MpiEnvironment environment_;
  std::unique_ptr<Communicator> world_ = make_mpi_world(environment_, {.timeout_s = 30});
  double grace_s_ = 30;  ///< the ranks of a busy machine may fail at very different times
};

TEST_F(JointCallTest, EndsWhenItHasEndedOnAllRanks) {
  bool made = false;
  const JointResult result = make_joint_call(*world_, call([&] { made = true; }));
  EXPECT_TRUE(made);
  EXPECT_EQ(result.failed, 0);
  EXPECT_FALSE(result.error);
}

TEST_F(JointCallTest, SaysThatItFailedOnAllRanksAlike) {
  const JointResult result = make_joint_call(*world_, call([this] {
    // The ranks arrive at different times.
    std::this_thread::sleep_for(std::chrono::milliseconds(20) * world_->rank());
    throw std::runtime_error("this system cannot");
  }));
  EXPECT_EQ(result.failed, world_->size());
  EXPECT_EQ(result.error, "rank 0: a call failed: this system cannot");
}

/// Such a failure once left the other ranks inside NCCL for ever, because no watchdog observed them there.
TEST_F(JointCallTest, ARankThatFailsFreesThoseThatWaitForIt) {
  grace_s_ = 0.2;
  const Stopwatch watch;
  const std::string error = error_of(call([last = is_last()] {
    if (last) throw std::runtime_error("no room for the window");
    wait_for_ever();
  }));
  if (world_->size() == 1) return;  // a single rank waits for no other
  EXPECT_THAT(error,
              HasSubstr(fmt::format("rank {}: a call failed: no room for the window", world_->size() - 1)));
  EXPECT_LT(watch.elapsed_s(), 10);
}

TEST_F(JointCallTest, RunsOutOfTimeOnAllRanksTogether) {
  JointCall hanging = call([last = is_last()] {
    if (last) wait_for_ever();
  });
  if (is_last()) hanging.timeout_s = 0.2;  // the others have ended long before, however busy the machine is
  const std::string error = error_of(hanging);
  EXPECT_EQ(error, fmt::format("rank {}: a call timed out after 0.2 s. Look at it.", world_->size() - 1));
}

TEST_F(JointCallTest, TheTableOfNodesIsTheSameOnAllRanks) {
  const NodeMap map = NodeMap::gather(*world_, environment_, /*peers_allowed=*/!is_last());
  std::vector<int> everyone;
  for (int rank = 0; rank < world_->size(); ++rank) everyone.push_back(rank);
  EXPECT_TRUE(map.are_on_one_node(everyone));  // a test runs on one
  EXPECT_FALSE(map.can_reach_directly(everyone));
  EXPECT_EQ(map.places().back().peers_allowed, 0);
  EXPECT_EQ(map.places().size(), everyone.size());
}

}  // namespace
}  // namespace wan::comm
