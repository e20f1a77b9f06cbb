#pragma once

#include <span>
#include <string>

#include "comm/mpi/environment.h"
#include "core/stop_signals.h"
#include "wan/error.h"

namespace wan::apps {

/// Runs wan_batch from its arguments to its exit code, on one rank of the job. Collective over all ranks.
/// Throws AgreedError, alike on all ranks, if the program ends in an orderly way, and any other exception if
/// only this rank knows of the problem. `stop_signals` is read between steps and items.
ExitCode run_batch_program(const comm::MpiEnvironment& mpi, std::span<const std::string> arguments,
                           StopSignals& stop_signals);

}  // namespace wan::apps
