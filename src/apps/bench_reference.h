#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/mpi/ranks.h"
#include "kernels/compute.h"
#include "launch/run_device.h"
#include "trace/trace_rows.h"

namespace wan::apps {

/// One rank of a measurement: where it ran, and how fast it made the reference load.
struct BenchRank {
  int world_rank = 0;
  std::string host;
  std::string gpu_uuid;    ///< empty on the CPU
  double reference_s = 0;  ///< NaN if there was no memory for it
};

/// Facts that are stored beside a measurement, on every rank.
struct BenchFacts {
  std::vector<BenchRank> ranks;
  trace::RunAttributes program;  ///< versions of the program, its libraries and the driver
};

/// Seconds of one round of the reference load on this rank: the median of several. It consists of matrix
/// products and copies of the libraries, and of no kernel of ours. So it tells a slow card, machine or driver
/// from a slow build.
double reference_load_s(const kernels::Compute& compute);

/// Measures the reference load on all ranks at the same time. Collective.
BenchFacts measure_facts(comm::Communicator& world, const comm::MpiRanks& ranks,
                         const launch::RunDevice& device);

}  // namespace wan::apps
