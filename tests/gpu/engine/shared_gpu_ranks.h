#pragma once

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <memory>

#include "gpu/engine/gpu_ranks.h"
#include "mpi/lent_communicator.h"

namespace wan::test {

/// The ranks of this program, their devices, and the communicators of each layout. They are made when a test
/// first asks, and stay for the tests after it: connecting GPUs takes longer than a small request.
class SharedGpuRanks final : public testing::Environment {
 public:
  /// Ends all that was made, while MPI still runs.
  void TearDown() override { forget(); }

  // Collective over all ranks where nothing was made yet.
  GpuRanks& ranks();
  const launch::RunDevice& device(launch::Precision precision);
  /// For one engine; the next one gets the same connections.
  parallel::GroupCommunicators communicators(const comm::GridShape& shape, std::int64_t heads);

  /// Ends all that was made; the next test makes it anew. Call it on a rank that left a test in the middle:
  /// the others may still wait there for its collectives.
  void forget() { made_.reset(); }

 private:
  /// Members go in the reverse order: groups before the watchdog that looks after them, and before MPI.
  struct Made {
    GpuRanks ranks;
    std::map<launch::Precision, launch::RunDevice> devices;
    std::unique_ptr<launch::RunCommunicators> communicators;
    /// By the guided and the unguided shape.
    std::map<std::array<int, 4>, std::shared_ptr<parallel::GroupCommunicators>> groups;
  };
  Made& made();

  std::unique_ptr<Made> made_;
};

/// The program's; it registers itself with GoogleTest.
SharedGpuRanks& shared_gpu_ranks();

/// Tests over all ranks, with the shared communicators; skipped where there are too few GPUs.
template <typename Parameters>
class SharedGpuTest : public testing::TestWithParam<Parameters> {
 protected:
  void SetUp() override {
    if (!GpuRanks::enough()) GTEST_SKIP() << "this test needs a GPU per rank";
  }
  void TearDown() override {
    if (testing::Test::HasFatalFailure()) shared_gpu_ranks().forget();
  }
};

}  // namespace wan::test
