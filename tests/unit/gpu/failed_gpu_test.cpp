#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "gpu/part_timer.h"
#include "gpu/upload.h"
#include "model/part_clock.h"
#include "unit/gpu/played_cuda.h"
#include "wan/error.h"

namespace wan::gpu {
namespace {

/// A GPU that fails permanently in the middle of its work. Destructors then run, and an exception from one of
/// them would end the program without a message.
class FailedGpu : public testing::Test {
 protected:
  static void fail_gpu() { test::set_played_error(cudaErrorIllegalAddress); }
  void TearDown() override { test::set_played_error(cudaSuccess); }
};

TEST_F(FailedGpu, APartOfAStepEndsAndTheStepThrows) {
  PartTimer timer;
  PartClock clock(&timer);
  {
    const auto scope = clock.measure(Part::attention);
    fail_gpu();
  }
  EXPECT_THROW(clock.measure(Part::linear), Error);
  try {
    timer.take();
    FAIL() << "the error was lost";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("illegal memory access"));
  }
}

TEST_F(FailedGpu, AnErrorOfTheStepPassesThroughItsParts) {
  PartTimer timer;
  PartClock clock(&timer);
  const auto step = [&] {
    const auto outer = clock.measure(Part::linear);
    const auto inner = clock.measure(Part::attention);
    fail_gpu();
    throw std::runtime_error("the kernel failed");
  };
  EXPECT_THROW(step(), std::runtime_error);
}

TEST_F(FailedGpu, AnUploadComesToItsEnd) {
  const auto use = [] {
    const Upload upload;
    fail_gpu();
    throw std::runtime_error("the copy failed");
  };
  EXPECT_THROW(use(), std::runtime_error);
}

}  // namespace
}  // namespace wan::gpu
