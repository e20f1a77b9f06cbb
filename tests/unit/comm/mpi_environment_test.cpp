#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdlib>
#include <string>

#include "comm/mpi/environment.h"
#include "wan/error.h"

namespace wan::comm {
namespace {

int finalized() {
  int flag = 0;
  MPI_Finalized(&flag);
  return flag;
}

// Each test starts MPI in its own process, as a single rank without a launcher.
class MpiEnvironmentDeathTest : public testing::Test {
 protected:
  void SetUp() override { testing::FLAGS_gtest_death_test_style = "threadsafe"; }
};

TEST_F(MpiEnvironmentDeathTest, FinalisesAtTheEndOfItsLife) {
  EXPECT_EXIT(
      {
        {
          const MpiEnvironment environment;
          if (environment.size() != 1 || environment.rank() != 0 || finalized() != 0) std::_Exit(10);
        }
        std::_Exit(20 + finalized());
      },
      testing::ExitedWithCode(21), "");
}

TEST_F(MpiEnvironmentDeathTest, DoesNotFinaliseWhileAnExceptionUnwinds) {
  EXPECT_EXIT(
      {
        try {
          const MpiEnvironment environment;
          throw Error("something went wrong");
        } catch (const Error&) {
          std::_Exit(20 + finalized());
        }
      },
      testing::ExitedWithCode(20), "");
}

TEST_F(MpiEnvironmentDeathTest, LeavesFinalisingToWhoeverInitialised) {
  EXPECT_EXIT(
      {
        int provided = MPI_THREAD_SINGLE;
        MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
        { const MpiEnvironment environment; }
        std::_Exit(20 + finalized());
      },
      testing::ExitedWithCode(20), "");
}

TEST(MpiRanks, OfACommunicatorNeedMpi) {
  try {
    const MpiRanks ranks(MPI_COMM_WORLD);
    ADD_FAILURE() << "made without MPI";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "MPI is not initialised: call MPI_Init_thread with MPI_THREAD_FUNNELED first");
  }
}

TEST_F(MpiEnvironmentDeathTest, RanksNeedAThreadLevel) {
  EXPECT_EXIT(
      {
        MPI_Init(nullptr, nullptr);
        try {
          const MpiRanks ranks(MPI_COMM_WORLD);
          std::_Exit(10);
        } catch (const Error& error) {
          std::_Exit(std::string(error.what()).find("MPI_THREAD_FUNNELED") != std::string::npos ? 20 : 11);
        }
      },
      testing::ExitedWithCode(20), "");
}

TEST_F(MpiEnvironmentDeathTest, AbortReturnsTheCodeEvenWithoutMpi) {
  EXPECT_EXIT(MpiEnvironment::abort(7), testing::ExitedWithCode(7), "");
}

}  // namespace
}  // namespace wan::comm
