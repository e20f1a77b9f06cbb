#pragma once

#include <string>

#include "comm/communicator.h"
#include "comm/mpi/ranks.h"
#include "launch/options.h"

namespace wan::apps {

/// Times the kernels for the matrix products of `options.bench.model` on this GPU, and keeps the best of each
/// in the file that later runs read. Returns a table. Throws AgreedError with exit code 2 for more than one
/// rank and for a device whose kernels are not ours to choose.
std::string measure_products(comm::Communicator& world, const comm::MpiRanks& ranks,
                             const launch::Options& options);

}  // namespace wan::apps
