#include "model/part_clock.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace wan {
namespace {

/// Imitates a device that fails from some moment on.
class FailingListener final : public PartListener {
 public:
  void on_part(std::optional<Part> part) override {
    if (fails) throw std::runtime_error("the device has failed");
    heard.push_back(part);
  }
  bool fails = false;
  std::vector<std::optional<Part>> heard;
};

TEST(PartClock, TellsTheListenerOfEveryChange) {
  FailingListener listener;
  PartClock clock(&listener);
  {
    const auto outer = clock.measure(Part::linear);
    const auto inner = clock.measure(Part::attention);
  }
  const std::vector<std::optional<Part>> expected{Part::linear, Part::attention, Part::linear, std::nullopt};
  EXPECT_EQ(listener.heard, expected);
}

/// A scope's end is a destructor. An exception of the listener there once ended the program.
TEST(PartClock, AScopeThatEndsOnAFailedDeviceThrowsAtTheNextScope) {
  FailingListener listener;
  PartClock clock(&listener);
  {
    const auto scope = clock.measure(Part::attention);
    listener.fails = true;
  }
  EXPECT_THROW(clock.measure(Part::linear), std::runtime_error);
}

TEST(PartClock, AnErrorPassesThroughScopesOfAFailedDevice) {
  FailingListener listener;
  PartClock clock(&listener);
  try {
    const auto outer = clock.measure(Part::linear);
    const auto inner = clock.measure(Part::attention);
    listener.fails = true;
    throw std::logic_error("a kernel could not be launched");
  } catch (const std::logic_error& error) {
    EXPECT_STREQ(error.what(), "a kernel could not be launched");
  }
}

TEST(PartClock, AScopeThatCouldNotBeginLeavesTheClockAsItWas) {
  FailingListener listener;
  PartClock clock(&listener);
  listener.fails = true;
  EXPECT_THROW(clock.measure(Part::attention), std::runtime_error);
  listener.fails = false;
  { const auto scope = clock.measure(Part::linear); }
  const std::vector<std::optional<Part>> expected{Part::linear, std::nullopt};
  EXPECT_EQ(listener.heard, expected);
}

TEST(PartClock, ResetForgetsAnErrorOfTheStepBefore) {
  FailingListener listener;
  PartClock clock(&listener);
  {
    const auto scope = clock.measure(Part::attention);
    listener.fails = true;
  }
  listener.fails = false;
  clock.reset();
  EXPECT_NO_THROW(clock.measure(Part::linear));
}

}  // namespace
}  // namespace wan
