#pragma once

#include <span>
#include <string>

#include "comm/mpi/environment.h"
#include "wan/error.h"

namespace wan::apps {

/// wan_bench from its arguments to its exit code, on one rank of the job: the engine's stages on a model of
/// random weights, timed. Collective over all ranks. Throws as run_batch_program() does.
ExitCode run_bench_program(const comm::MpiEnvironment& mpi, std::span<const std::string> arguments);

}  // namespace wan::apps
