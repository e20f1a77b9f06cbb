#pragma once

#include <span>
#include <string>

#include "apps/bench_report.h"
#include "comm/mpi/ranks.h"

namespace wan::apps {

/// Measures the stages of a request on a model of random weights, on all ranks together, as `options.bench`
/// says. The result is complete on rank 0. `arguments`: of the program, for the trace. Collective over
/// `ranks`. Throws AgreedError for options that no layout grants or a device that is not there.
BenchResult measure_bench(const comm::MpiRanks& ranks, const launch::Options& options,
                          std::span<const std::string> arguments);

}  // namespace wan::apps
