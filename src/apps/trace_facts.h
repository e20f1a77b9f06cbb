#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "comm/communicator.h"
#include "comm/mpi/clock_offset.h"
#include "comm/mpi/ranks.h"
#include "launch/run_device.h"
#include "trace/trace_rows.h"

namespace wan::apps {

/// Text of at most 95 bytes that travels between ranks.
struct FixedText {
  std::array<char, 96> bytes{};

  FixedText() = default;
  explicit FixedText(std::string_view text) { text.copy(bytes.data(), bytes.size() - 1); }
  std::string text() const { return bytes.data(); }
};

/// A phase of the run on its way to the leader.
struct RunPhase {
  FixedText phase;
  double start_s = 0;
  double wall_s = 0;
};

/// A rank's report on itself when its trace begins, and again when it ends. It travels byte by byte.
struct RankReport {
  std::int32_t world_rank = 0;
  std::int32_t group_rank = 0;
  FixedText host, gpu_model, gpu_uuid, pci_bus;
  double power_limit_w = 0;
  std::int32_t numa_node = -1;
  std::int32_t phase_count = 0;
  comm::ClockOffset clock;
  std::array<RunPhase, 3> phases;

  /// Ignores a phase without length, and those beyond the third.
  void add_phase(std::string_view phase, double start_s, double end_s);
  trace::RankRecord rank_record() const;
  trace::ClockRecord clock_record() const;
  std::vector<trace::PhaseRecord> phase_records() const;
};

/// Where this rank computes; NaN, -1 and "unknown" where the system does not tell.
RankReport describe_rank(const comm::MpiRanks& ranks, const launch::RunDevice& device);

/// The reports of all ranks of the group, on every rank. Collective.
std::vector<RankReport> gather_reports(comm::Communicator& group, const RankReport& own);

/// The versions of the program and its libraries, and the scheduler's names of the job. "none" where a device
/// or library is not used.
trace::RunAttributes program_attributes(const launch::RunDevice& device);

}  // namespace wan::apps
