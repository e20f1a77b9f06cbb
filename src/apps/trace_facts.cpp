#include "apps/trace_facts.h"

#include <fmt/format.h>
#include <wan_revision.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <span>
#include <type_traits>

#include "apps/version_report.h"
#include "comm/nccl/version.h"
#include "gpu/device.h"
#include "gpu/management_library.h"
#include "wan/version.h"

namespace wan::apps {
namespace {

static_assert(std::is_trivially_copyable_v<RankReport>);

std::string environment_text(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets it
  return value != nullptr ? value : "";
}

std::int64_t job_start() {
  const std::string restarts = environment_text("SLURM_RESTART_COUNT");
  if (!restarts.empty()) return std::strtoll(restarts.c_str(), nullptr, 10);
  return environment_text("SLURM_JOB_ID").empty() ? -1 : 0;  // Slurm sets it from the first restart on
}

/// Turns 22809 into "2.28.9".
std::string nccl_text() {
  const auto version = comm::nccl_version();
  if (!version) return "none";
  if (version->library == 0) return trace::unknown_text;
  return fmt::format("{}.{}.{}", version->library / 10000, version->library / 100 % 100,
                     version->library % 100);
}

std::string cuda_text() {
  const int runtime = gpu::cuda_versions().runtime;
  if (!gpu::is_built_in()) return "none";
  if (runtime == 0) return trace::unknown_text;
  return fmt::format("{}.{}", runtime / 1000, runtime % 1000 / 10);
}

}  // namespace

void RankReport::add_phase(std::string_view phase, double start_s, double end_s) {
  if (end_s <= start_s || phase_count >= std::ssize(phases)) return;
  phases[static_cast<std::size_t>(phase_count)] = {
      .phase = FixedText(phase), .start_s = start_s, .wall_s = end_s - start_s};
  ++phase_count;
}

trace::RankRecord RankReport::rank_record() const {
  return {.world_rank = world_rank,
          .group_rank = group_rank,
          .host = host.text(),
          .gpu_model = gpu_model.text(),
          .gpu_uuid = gpu_uuid.text(),
          .pci_bus = pci_bus.text(),
          .power_limit_w = power_limit_w,
          .numa_node = numa_node};
}

trace::ClockRecord RankReport::clock_record() const {
  return {.world_rank = world_rank,
          .time_s = clock.time_s,
          .offset_s = clock.offset_s,
          .uncertainty_s = clock.uncertainty_s};
}

std::vector<trace::PhaseRecord> RankReport::phase_records() const {
  std::vector<trace::PhaseRecord> records;
  for (const RunPhase& phase : std::span(phases).first(static_cast<std::size_t>(phase_count))) {
    records.push_back({.event = {.phase = phase.phase.text(),
                                 .start_s = phase.start_s,
                                 .wall_s = phase.wall_s,
                                 .world_rank = world_rank}});
  }
  return records;
}

RankReport describe_rank(const comm::MpiRanks& ranks, const launch::RunDevice& device) {
  RankReport report;
  report.world_rank = ranks.rank();
  report.host = FixedText(ranks.host_name());
  report.power_limit_w = std::numeric_limits<double>::quiet_NaN();
  if (!device.compute.on_gpu()) {
    report.numa_node = gpu::numa_node_of_this_thread();
    return report;
  }
  const gpu::GpuFacts facts = gpu::gpu_facts(device.gpu.bus_id);
  report.gpu_model = FixedText(device.gpu.name);
  report.gpu_uuid = FixedText(facts.uuid);
  report.pci_bus = FixedText(device.gpu.bus_id);
  report.power_limit_w = facts.power_limit_w;
  report.numa_node = gpu::numa_node_of_gpu(device.gpu.bus_id);
  return report;
}

std::vector<RankReport> gather_reports(comm::Communicator& group, const RankReport& own) {
  RankReport mine = own;
  mine.group_rank = group.rank();
  std::vector<RankReport> all(static_cast<std::size_t>(group.size()));
  group.all_gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all))).wait();
  return all;
}

trace::RunAttributes program_attributes(const launch::RunDevice& device) {
  const bool on_gpu = device.compute.on_gpu();
  return {{"version", version()},
          {"revision", std::string(WAN_REVISION)},
          {"build", std::string(WAN_BUILD)},
          {"driver", on_gpu ? gpu::gpu_facts(device.gpu.bus_id).driver : "none"},
          {"cuda", cuda_text()},
          {"nccl", nccl_text()},
          {"mpi", mpi_version()},
          {"libtorch", library_versions().at("LibTorch")},
          {"hdf5", hdf5_version()},
          {"job", environment_text("SLURM_JOB_ID")},
          {"job_start", job_start()},
          {"array_task", environment_text("SLURM_ARRAY_TASK_ID")},
          {"device", std::string(on_gpu ? "cuda" : "cpu")},
          {"gpu_model", device.gpu.name},
          {"vae_precision", std::string(to_string(device.vae_precision))}};
}

}  // namespace wan::apps
