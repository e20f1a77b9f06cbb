#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "comm/watch/watchdog.h"

namespace wan::comm::test {

/// Gives every rank of the test's program a GPU of its own and skips all tests, with a message, where there
/// are fewer GPUs than ranks: NCCL refuses two ranks on one.
class GpuJob final : public testing::Environment {
 public:
  void SetUp() override;
  void TearDown() override;

  std::shared_ptr<Watchdog> watchdog() const { return watchdog_; }

 private:
  std::shared_ptr<Watchdog> watchdog_;
};

/// The program's; it registers itself with GoogleTest.
GpuJob& gpu_job();

}  // namespace wan::comm::test
