#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <thread>

#include "batch/energy_meter.h"
#include "runner_fixture.h"

namespace wan::batch {
namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

DeviceSample sample(double time_s, int rank, double power_w) {
  return {.time_s = time_s, .rank = rank, .vram_used_bytes = 1, .power_w = power_w, .temperature_c = 40};
}

void begin(Observer& observer, double start_s) {
  observer.on_phase({.phase = "text", .start_s = start_s, .wall_s = 1, .sent_bytes = 0});
}

/// Counts what is passed on.
class Counter final : public Observer {
 public:
  void on_phase(const PhaseEvent& /*event*/) override { ++phases; }
  void on_step(const StepEvent& /*event*/) override { ++steps; }
  void on_samples(std::span<const DeviceSample> all) override { samples += all.size(); }

  int phases = 0;
  int steps = 0;
  std::size_t samples = 0;
};

TEST(EnergyMeter, AddsUpThePowerOfEveryRankSinceTheWorkBegan) {
  Counter counter;
  double energy_j = 0;
  EnergyMeter meter(counter, energy_j);
  begin(meter, 10);
  // Until second 10 the GPU did something else, and what came late is not counted twice.
  meter.on_samples(std::vector{sample(9, 0, 1000), sample(10.5, 0, 100), sample(11, 1, 10)});
  EXPECT_DOUBLE_EQ(energy_j, 0.5 * 100 + 1 * 10);
  meter.on_step({.start_s = 11});
  meter.on_samples(std::vector{sample(12, 0, 200), sample(11.5, 0, 999), sample(14, 1, 20)});
  EXPECT_DOUBLE_EQ(energy_j, 60 + 1.5 * 200 + 3 * 20);
  EXPECT_EQ(counter.phases, 1);
  EXPECT_EQ(counter.steps, 1);
  EXPECT_EQ(counter.samples, 6U);
}

TEST(EnergyMeter, APowerThatIsUnknownMakesTheEnergyUnknown) {
  Counter counter;
  double energy_j = 0;
  EnergyMeter meter(counter, energy_j);
  begin(meter, 0);
  meter.on_samples(std::vector{sample(1, 0, 100), sample(1, 1, unknown), sample(2, 1, 100)});
  EXPECT_TRUE(std::isnan(energy_j));
}

TEST(EnergyMeter, AGpuThatIsNeverSampledMakesTheEnergyUnknown) {
  Counter counter;
  double energy_j = 0;
  EnergyMeter meter(counter, energy_j);
  begin(meter, 0);
  meter.end(2, 0.1);  // too short to tell
  meter.on_samples(std::vector{sample(1, 0, 100)});
  meter.end(1, 1);
  EXPECT_EQ(energy_j, 100);
  meter.end(2, 1);
  EXPECT_TRUE(std::isnan(energy_j));
}

/// Items whose GPU takes `power_w` for two hours per attempt, into their records.
class EnergyOfItems : public ::testing::Test {
 protected:
  void run(const std::string& name, double power_w, bool stops) {
    RunContext context = test::context_for(dir_ / "out", name);
    int steps = 0;
    context.stop.is_requested = [&] { return stops && steps >= 2; };
    context.place.on_gpu = on_gpu_;
    test::StubEngine engine;
    engine.on_step = [&](const Request&, int) {
      if (steps++ == 0) std::this_thread::sleep_for(first_step_);
    };
    if (power_w != 0) {
      engine.on_events = [&](Observer& observer) {
        begin(observer, 3600);
        observer.on_samples(std::vector{sample(3 * 3600, 0, power_w)});
      };
    }
    test::AloneGroup group;
    test::Recorder recorder;
    TeamLetters teams;
    const auto rows = test::rows_of("id,prompt\na,a\n");
    run_group(engine, group, rows, context, recorder, teams);
  }
  nlohmann::json energy() const {
    return nlohmann::json::parse(read_text_file(dir_ / "out" / "a.json", 1 << 20)).at("energy_wh");
  }

  wan::test::TempDir dir_;
  bool on_gpu_ = false;
  std::chrono::milliseconds first_step_{0};
};

TEST_F(EnergyOfItems, IsThatOfAllRunsThatTheyWereWith) {
  run("run-1", 500, true);
  run("run-2", 300, false);
  EXPECT_EQ(energy(), 1600);
}

TEST_F(EnergyOfItems, IsNullIfAnyRunDoesNotKnowIt) {
  run("run-1", unknown, true);
  run("run-2", 300, false);
  EXPECT_TRUE(energy().is_null());
}

TEST_F(EnergyOfItems, IsNullIfARunOnGpusHeardNoSamples) {
  on_gpu_ = true;
  first_step_ = std::chrono::milliseconds(1100);
  run("run-1", 500, true);
  run("run-2", 0, false);
  EXPECT_TRUE(energy().is_null());
}

TEST_F(EnergyOfItems, IsNullOnTheCpu) {
  run("run-1", 0, false);
  EXPECT_TRUE(energy().is_null());
}

}  // namespace
}  // namespace wan::batch
