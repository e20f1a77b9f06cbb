#pragma once

#include <span>
#include <string>

#include "comm/mpi/environment.h"
#include "core/stop_signals.h"
#include "wan/error.h"

namespace wan::apps {

/// wan_batch from its arguments to its exit code, on one rank of the job. Collective over all ranks. Throws
/// AgreedError, alike on all ranks, for what ends the program in an orderly way, and anything else for what
/// only this rank knows of. `stop_signals`: asked between steps and items whether to stop.
ExitCode run_batch_program(const comm::MpiEnvironment& mpi, std::span<const std::string> arguments,
                           StopSignals& stop_signals);

}  // namespace wan::apps
