// The monitor with a stand-in for NVIDIA's management library (played_nvml.cpp).
#include "gpu/monitor.h"

#include <gmock/gmock.h>

#include <chrono>
#include <thread>

namespace wan::gpu {
namespace {

using testing::Each;
using testing::IsNan;

constexpr const char* talkative = "0000:01:00.0";
constexpr const char* silent = "0000:02:00.0";
constexpr const char* absent = "0000:03:00.0";

/// The samples of a monitor that has taken at least one.
std::vector<Sample> samples_of(const char* bus_id) {
  Monitor monitor(bus_id, 0.001, [] { return 2.5; });
  std::vector<Sample> samples;
  for (int tries = 0; tries < 30'000 && samples.empty(); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    samples = monitor.take();
  }
  return samples;
}

TEST(Monitor, SamplesEverythingThatTheDriverTells) {
  const std::vector<Sample> samples = samples_of(talkative);
  ASSERT_FALSE(samples.empty());
  for (const Sample& sample : samples) {
    EXPECT_EQ(sample.time_s, 2.5);
    EXPECT_EQ(sample.used_bytes, 123);
    EXPECT_EQ(sample.power_w, 345.5);
    EXPECT_EQ(sample.temperature_c, 61);
    EXPECT_EQ(sample.sm_clock_mhz, 1980);
    EXPECT_EQ(sample.throttle_reasons, 0x24);
  }
}

TEST(Monitor, WhatTheDriverDoesNotTellIsUnknownAndNotZero) {
  const std::vector<Sample> samples = samples_of(silent);
  ASSERT_FALSE(samples.empty());
  for (const Sample& sample : samples) {
    EXPECT_EQ(sample.used_bytes, -1);
    EXPECT_EQ(sample.throttle_reasons, -1);
    EXPECT_THAT((std::vector{sample.power_w, sample.temperature_c, sample.sm_clock_mhz}), Each(IsNan()));
  }
}

TEST(Monitor, RemembersTheMostMemoryAndCountsUnknownAsNone) {
  Monitor monitor(talkative, 0.001, [] { return 0.0; });
  for (int tries = 0; tries < 30'000 && monitor.peak_used_bytes() == 0; ++tries)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_EQ(monitor.peak_used_bytes(), 123U);
  Monitor of_silent(silent, 0.001, [] { return 0.0; });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(of_silent.peak_used_bytes(), 0U);
}

TEST(Monitor, HasNoSamplesOfAGpuThatIsNotThere) {
  Monitor monitor(absent, 0.001, [] { return 0.0; });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(monitor.take().empty());
}

TEST(GpuFacts, NameTheCardItsLimitAndTheDriver) {
  const GpuFacts facts = gpu_facts(talkative);
  EXPECT_EQ(facts.uuid, "GPU-5f3c");
  EXPECT_EQ(facts.driver, "580.82");
  EXPECT_EQ(facts.power_limit_w, 700);
}

TEST(GpuFacts, AreUnknownWhereTheDriverDoesNotTell) {
  const GpuFacts of_silent = gpu_facts(silent);
  EXPECT_EQ(of_silent.uuid, "unknown");
  EXPECT_EQ(of_silent.driver, "580.82");
  EXPECT_THAT(of_silent.power_limit_w, IsNan());
  const GpuFacts of_absent = gpu_facts(absent);
  EXPECT_EQ(of_absent.uuid, "unknown");
  EXPECT_EQ(of_absent.driver, "unknown");
  EXPECT_EQ(numa_node_of_gpu("ffff:ff:1f.7"), -1);
}

}  // namespace
}  // namespace wan::gpu
