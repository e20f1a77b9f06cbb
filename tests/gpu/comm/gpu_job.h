#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "comm/watch/watchdog.h"

namespace wan::comm::test {

/// Gives every rank of the test's program its own GPU. With fewer GPUs than ranks it skips all tests with a
/// message, because NCCL refuses two ranks on one GPU.
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
