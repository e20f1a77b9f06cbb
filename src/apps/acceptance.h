#pragma once

#include <string>
#include <vector>

#include "apps/bench_report.h"
#include "launch/options.h"

namespace wan::apps {

/// One figure of a machine: measured, and what the plan expects.
struct AcceptanceRow {
  std::string name;  ///< "step", "decode the video", "slowest rank"
  std::string unit;  ///< "s", or "" for a ratio
  double measured = 0;
  double expected = 0;
  double most = 0;        ///< a larger measured value fails
  bool is_judged = true;  ///< false: nothing is known of such a GPU
  bool has_failed() const { return is_judged && !(measured <= most); }
};

/// The figures of all GPUs of a job against what the plan expects.
struct Acceptance {
  std::string machine;  ///< "2 x NVIDIA H200, bf16, cfg2 x ulysses1"
  std::string figures;  ///< where the expected values come from
  std::vector<AcceptanceRow> rows;
  bool is_accepted() const;
};

/// A phase may take this much more than expected, and the slowest rank's computing this much more than the
/// median of the ranks.
inline constexpr double accepted_excess = 0.15;
inline constexpr double accepted_rank_excess = 0.05;

/// The settings of the measurement: about a minute on one H200. Keeps what `given` says of the log.
launch::Options acceptance_options(const launch::Options& given);

/// Judges a measurement. It needs the figures of all ranks, as they are on rank 0.
Acceptance judge(const BenchResult& result);

std::string acceptance_table(const Acceptance& acceptance);
/// One JSON object.
std::string acceptance_json(const Acceptance& acceptance);

}  // namespace wan::apps
