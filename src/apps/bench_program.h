#pragma once

#include <span>
#include <string>

#include "comm/mpi/environment.h"
#include "wan/error.h"

namespace wan::apps {

/// Runs wan_bench from its arguments to its exit code, on one rank of the job: times the engine's stages on a
/// model of random weights. Collective over all ranks. Throws as run_batch_program() does.
ExitCode run_bench_program(const comm::MpiEnvironment& mpi, std::span<const std::string> arguments);

}  // namespace wan::apps
