#pragma once

#include <functional>

#include "comm/mpi/ranks.h"

namespace wan::comm {

/// How far this rank's clock is ahead of that of rank 0 at the same moment.
struct ClockOffset {
  double time_s = 0;         ///< of the measurement, on this rank's clock
  double offset_s = 0;       ///< this rank's clock minus rank 0's
  double uncertainty_s = 0;  ///< the offset lies within this distance
};

/// Measures the clocks of all ranks against rank 0's by messages there and back: the shortest of 20 round
/// trips counts, and half of it is the uncertainty. One rank after the other. `now_s`: this rank's clock.
/// Collective over `ranks`. Throws Error.
ClockOffset measure_clock_offset(const MpiRanks& ranks, const std::function<double()>& now_s);

}  // namespace wan::comm
