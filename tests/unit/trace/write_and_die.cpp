// Writes FILE with one item and STEPS steps of two ranks, then kills itself before it can close anything.
// With "end" as a third argument it ends in order instead.
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "support/trace_sample.h"

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const bool ends = argc > 3 && std::string_view(argv[3]) == "end";
  wan::trace::TraceWriter writer(argv[1], {{"version", std::string("0.1.0")}, {"gpus", std::int64_t{2}}});
  const wan::trace::RankRecord rank{.world_rank = 4,
                                    .group_rank = 1,
                                    .host = "node1",
                                    .gpu_model = "NVIDIA H200",
                                    .gpu_uuid = "GPU-1",
                                    .pci_bus = "0000:1b:00.0",
                                    .power_limit_w = 700.5,
                                    .numa_node = 1};
  writer.add_ranks(std::span(&rank, 1));
  const wan::trace::ClockRecord clock{
      .world_rank = 4, .time_s = 0.25, .offset_s = -0.125, .uncertainty_s = 1e-6};
  writer.add_clocks(std::span(&clock, 1));
  const wan::trace::PhaseRecord load{.event = wan::test::sample_phase("load", 3.5)};
  writer.add_phases(std::span(&load, 1));
  const int item = writer.begin_item(wan::test::sample_item("größe-1"));
  writer.begin_stretch({.item = item, .event = wan::test::sample_stretch()});
  for (int step = 0; step < std::atoi(argv[2]); ++step) writer.add_steps(wan::test::sample_steps(step));
  writer.end_item({.item = item, .time_s = 30.5, .outcome = "stopped", .steps_done = 7});
  const wan::DeviceSample sample{.time_s = 0.75,
                                 .rank = 4,
                                 .vram_used_bytes = 1LL << 36U,
                                 .power_w = 650.5,
                                 .temperature_c = 61,
                                 .sm_clock_mhz = 1980,
                                 .throttle_reasons = 4};
  writer.add_samples(std::span(&sample, 1));
  if (ends) {
    writer.close();
    return 0;
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(500));  // as long as a row may take to the file
  return std::raise(SIGKILL);
}
